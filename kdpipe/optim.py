"""The optimiser step: small parameters by PyTorch's optimisers, large token tables by the rows that a batch reads.

A dense step over a table of 50,000 x 300 costs as much as the whole network of a small student, though a batch reads
some 500 rows. Here the untouched rows wait: Adam's moments of a row decay by a power of the missed steps, and what its
momentum would still have moved it is a sum over those steps that is kept for each step. A row is brought up to date
before it is read. The result is that of the dense optimiser, but for the place of `eps` in the waiting rows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType

import torch
from torch import Tensor, nn

LARGE = 2048  # rows from which a table is trained by rows: below, a dense step is as cheap


class Optimiser:
    """Steps all trainable parameters of a module; used as a context, since it hooks onto the module's tables.

    name: "adamw" (Loshchilov and Hutter 2019, arXiv:1711.05101), "adam" (Kingma and Ba 2015, arXiv:1412.6980),
    "adadelta" (Zeiler 2012, arXiv:1212.5701). Weight decay spares token tables, biases and layer norms.
    """

    def __init__(self, module: nn.Module, name: str, lr: float, weight_decay: float = 0.0, rho: float = 0.95):
        self.lr, tables = lr, [m for m in module.modules() if isinstance(m, nn.Embedding) and m.weight.requires_grad]
        self.tables = [m for m in tables if m.weight.device.type == "cpu" and m.num_embeddings >= LARGE]
        make = _AdadeltaRows if name == "adadelta" else _AdamRows
        self.rows = [make(m.weight, rho) for m in self.tables]
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        large, spared = {id(m.weight) for m in self.tables}, {id(m.weight) for m in tables}
        dense = [p for p in self.parameters if id(p) not in large]
        decayed = [p for p in dense if p.ndim > 1 and id(p) not in spared]
        rest = [p for p in dense if p.ndim <= 1 or id(p) in spared]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.dense = _dense(name, [g for g in groups if g["params"]], lr, rho)

    def __enter__(self) -> Optimiser:
        for table in self.tables:
            table.sparse = True
        self.hooks = [table.register_forward_pre_hook(_before_reading(rows))
                      for table, rows in zip(self.tables, self.rows, strict=True)]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for table, hook in zip(self.tables, self.hooks, strict=True):
            table.sparse = False
            hook.remove()
        self.settle()

    @torch.no_grad()
    def step(self, factor: float = 1.0, clip: float | None = None) -> None:
        """One step at lr * factor on the gradients, whose joint norm is first cut down to `clip`; then they go."""
        gradients = [_values(p) for p in self.parameters if p.grad is not None]
        if clip is not None:
            _clip(gradients, clip)
        for rows in self.rows:
            if rows.weight.requires_grad:  # else it is frozen for now: its steps have not begun
                rows.step(self.lr * factor)
        if self.dense is not None:
            for group in self.dense.param_groups:
                group["lr"] = self.lr * factor
            self.dense.step()
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def settle(self) -> None:
        """Bring all rows of all tables up to date: before the weights are read otherwise than by a training batch."""
        for rows in self.rows:
            rows.catch_up(torch.arange(len(rows.last)))


class _Rows(ABC):
    """The state of one table [V, E]. `last[i]` is the step up to which row i is computed."""

    def __init__(self, weight: nn.Parameter):
        self.weight, self.steps = weight, 0
        self.last = torch.zeros(len(weight), dtype=torch.long)

    def catch_up(self, rows: Tensor) -> None:
        """Distinct rows as the dense optimiser would have them now."""
        stale = rows[self.last[rows] < self.steps]
        if len(stale):
            self.wait(stale)
            self.last[stale] = self.steps

    def step(self, lr: float) -> None:
        gradient = self.weight.grad
        rows = gradient.indices()[0] if gradient is not None else self.last[:0]
        self.catch_up(rows)
        self.steps += 1
        if gradient is not None:
            self.update(rows, gradient.values(), lr)
        self.last[rows] = self.steps
        self.passed(lr)

    @abstractmethod
    def wait(self, rows: Tensor) -> None:
        """The steps from `last` to now, in which these rows had no gradient."""

    @abstractmethod
    def update(self, rows: Tensor, gradient: Tensor, lr: float) -> None:
        """Step number `steps` for distinct rows [R] with gradients [R, E]."""

    def passed(self, lr: float) -> None:  # noqa: B027 - only Adam keeps account of it
        """Called at the end of every step."""


class _AdamRows(_Rows):
    """Adam without weight decay. A waiting row moves by sum over missed steps s of c_s r^(s - last) m / sqrt(v), where
    r = beta1 / sqrt(beta2) and c_s is the learning rate with bias corrections: `reach[last]` holds the sum so far."""

    b1, b2, eps = 0.9, 0.999, 1e-8
    window = 256  # steps after which r^k is below 1e-11

    def __init__(self, weight: nn.Parameter, rho: float):
        super().__init__(weight)
        self.m, self.v = torch.zeros_like(weight), torch.zeros_like(weight)
        self.reach = torch.zeros(4 * self.window, dtype=torch.float64)
        self.powers = (self.b1 / math.sqrt(self.b2)) ** torch.arange(self.window, 0, -1, dtype=torch.float64)

    def wait(self, rows: Tensor) -> None:
        missed = (self.steps - self.last[rows]).double()[:, None]
        reach = self.reach[self.last[rows]][:, None].to(self.m.dtype)
        m, v = self.m.index_select(0, rows), self.v.index_select(0, rows)
        self.weight.index_add_(0, rows, reach * m / v.sqrt().add_(self.eps), alpha=-1)
        self.m.index_copy_(0, rows, m * (self.b1**missed).to(m.dtype))
        self.v.index_copy_(0, rows, v * (self.b2**missed).to(v.dtype))

    def update(self, rows: Tensor, gradient: Tensor, lr: float) -> None:
        m = self.m.index_select(0, rows).lerp_(gradient, 1 - self.b1)
        v = self.v.index_select(0, rows).mul_(self.b2).addcmul_(gradient, gradient, value=1 - self.b2)
        self.m.index_copy_(0, rows, m)
        self.v.index_copy_(0, rows, v)
        size = v.sqrt_().div_(math.sqrt(1 - self.b2**self.steps)).add_(self.eps)
        self.weight.index_add_(0, rows, m.div_(size), alpha=-lr / (1 - self.b1**self.steps))

    def passed(self, lr: float) -> None:
        if self.steps >= len(self.reach):
            self.reach = torch.cat([self.reach, torch.zeros_like(self.reach)])
        rate = lr * math.sqrt(1 - self.b2**self.steps) / (1 - self.b1**self.steps)
        n = min(self.steps, self.window)
        self.reach[self.steps - n:self.steps] += rate * self.powers[-n:]


class _AdadeltaRows(_Rows):
    """Adadelta: a waiting row does not move, its two running averages decay."""

    eps = 1e-6

    def __init__(self, weight: nn.Parameter, rho: float):
        super().__init__(weight)
        self.rho = rho
        self.squares, self.moves = torch.zeros_like(weight), torch.zeros_like(weight)

    def wait(self, rows: Tensor) -> None:
        decay = (self.rho ** (self.steps - self.last[rows]).double())[:, None].to(self.weight.dtype)
        for state in (self.squares, self.moves):
            state.index_copy_(0, rows, state.index_select(0, rows) * decay)

    def update(self, rows: Tensor, gradient: Tensor, lr: float) -> None:
        squares, moves = self.squares.index_select(0, rows), self.moves.index_select(0, rows)
        squares.mul_(self.rho).addcmul_(gradient, gradient, value=1 - self.rho)
        move = (moves + self.eps).sqrt_().div_((squares + self.eps).sqrt_()).mul_(gradient)
        self.squares.index_copy_(0, rows, squares)
        self.moves.index_copy_(0, rows, moves.mul_(self.rho).addcmul_(move, move, value=1 - self.rho))
        self.weight.index_add_(0, rows, move, alpha=-lr)


def _dense(name: str, groups: list[dict], lr: float, rho: float) -> torch.optim.Optimizer | None:
    if not groups:
        return None
    if name == "adadelta":
        return torch.optim.Adadelta(groups, lr=lr, rho=rho, eps=_AdadeltaRows.eps)
    make = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[name]
    return make(groups, lr=lr, betas=(_AdamRows.b1, _AdamRows.b2), eps=_AdamRows.eps, fused=True)


def _before_reading(rows: _Rows) -> Callable[[nn.Embedding, tuple[Tensor, ...]], None]:
    @torch.no_grad()
    def catch_up(table: nn.Embedding, arguments: tuple[Tensor, ...]) -> None:
        if table.training:
            rows.catch_up(arguments[0].unique())

    return catch_up


def _values(parameter: nn.Parameter) -> Tensor:
    """The numbers of a gradient: all of a dense one, those of the touched rows of a sparse one."""
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()


def _clip(gradients: list[Tensor], limit: float) -> None:
    norm = torch.nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
