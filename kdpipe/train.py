"""The only training loop, and predict()."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe import batches
from kdpipe.batches import collate, to_device
from kdpipe.errors import UserError
from kdpipe.models import Model
from kdpipe.objectives import Objective
from kdpipe.optim import Optimiser
from kdpipe.progress import bar
from kdpipe.pruning import Pruner, sparsity
from kdpipe.schedules import Schedule, rate_factor
from kdpipe.settings import Settings
from kdpipe.types import Batch, Encoded, Outputs

T = TypeVar("T")
# Rows and padded tokens of one inference batch. On a CPU more tokens only leave its caches: MiniLM answers rows of 25
# tokens 1.3 times as fast in batches of 8 to 64 rows as in batches of 128.
INFERENCE = {"cpu": (64, 2_048), "cuda": (512, 32_768)}
CHECKED = 16  # batches between two looks at the losses, since each look waits for a GPU


class Teacher(Protocol):
    """What a teacher says of the rows that a student learns from."""

    parts: frozenset[str]  # of Outputs

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def __call__(self, rows: np.ndarray, device: torch.device) -> Outputs:
        """Positions of rows [B] -> what it says of them, on the device, without a graph."""
        ...


@dataclass(frozen=True)
class Term:
    """One weighted term of the loss."""

    objective: Objective
    weight: Schedule


@dataclass(frozen=True)
class Fitted:
    """How a training went. best_epoch counts from 1; the best epoch's weights are in the model.

    curve: for each epoch: epoch, loss (mean over its rows), dev (None where not evaluated), seconds (training alone).
    rows_per_second: of training, evaluation apart. sparsity: the share of weights that are 0, None where not pruned.
    """

    best_epoch: int
    best_score: float
    curve: list[dict[str, float | int | None]]
    seconds: float
    rows_per_second: float
    sparsity: float | None = None


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws from torch inside are a function of the seed; the state outside is left as it was.

    Build a model inside, then its first weights repeat too.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def cores_for(model: Model) -> AbstractContextManager[None]:
    """One thread for a small network, which a second one only slows; all that PyTorch has for a large one.

    So a small network's bits do not depend on the machine's number of cores either.
    """
    return threads(torch.get_num_threads() if model.half else 1)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads of PyTorch. The number is the process's, not the thread's: train or predict in one thread of a
    process at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _repeatable(model: Model, device: torch.device) -> Iterator[None]:
    """Deterministic kernels on a GPU; on a CPU all that is used here is deterministic for a number of threads."""
    if device.type != "cuda":
        with cores_for(model):
            yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS and cuDNN's LSTM repeat only with it
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def fit(model: Model, terms: Sequence[Term], data: Encoded, labels: np.ndarray, teacher: Teacher | None,
        settings: Settings, dev_score: Callable[[], float], seed: int, device: str | torch.device = "cpu",
        title: str = "train") -> Fitted:
    """Train a model and its objectives' own parameters, and leave the best dev epoch's weights in the model.

    The loss of a batch is the mean over its rows of sum over terms of weight(progress) * objective, where progress is
    (i + 1/2) / n at step i of n. The same seed on the same machine and number of threads repeats bit by bit.

    labels: float [n], NaN where nobody gave one. teacher: what it says of rows of the data, all that the terms need.
    dev_score: higher is better; called after each evaluated epoch.
    Raises UserError where a loss is not finite, naming epoch and batch.
    """
    run = _Run(model, terms, data, labels, teacher, settings, seed, torch.device(device))
    start, curve, best = time.perf_counter(), [], _Best(model)
    rows = settings.epochs * len(data)
    with _repeatable(model, run.device), seeded(seed), run.optimiser, bar(title, rows) as advance:
        for epoch in range(1, settings.epochs + 1):
            began = time.perf_counter()
            loss = run.epoch(epoch, advance)
            seconds = time.perf_counter() - began
            dev = None
            due = settings.select == "best" and epoch % settings.evaluate_every == 0 and run.is_whole()
            if due or epoch == settings.epochs:
                run.optimiser.settle()
                dev = float(dev_score())
                best.see(epoch, dev)
            curve.append({"epoch": epoch, "loss": loss, "dev": dev, "seconds": seconds})
            if settings.patience is not None and best.misses >= settings.patience:
                break
    run.thaw(len(run.blocks))
    best.restore()
    spent = sum(e["seconds"] for e in curve)
    left = sparsity(model) if run.pruner else None
    return Fitted(best.epoch, best.score, curve, time.perf_counter() - start, len(curve) * len(data) / spent, left)


class _Run:
    """What one training holds: the parts, the optimiser and the place in the schedule."""

    def __init__(self, model: Model, terms: Sequence[Term], data: Encoded, labels: np.ndarray,
                 teacher: Teacher | None, settings: Settings, seed: int, device: torch.device):
        _check(model, terms, data, labels, teacher)
        self.model, self.terms, self.data, self.labels, self.teacher = model, terms, data, labels, teacher
        self.parts_read = frozenset().union(*(t.objective.reads for t in terms)) - {"logits"}
        self.settings, self.seed, self.device = settings, seed, device
        self.parts = nn.ModuleList([model, *(t.objective for t in terms)]).to(device)
        s = settings
        self.optimiser = Optimiser(self.parts, s.optimizer, s.lr, s.weight_decay, s.rho)
        self.rate, self.lengths, self.step = rate_factor(s.schedule, s.warmup), batches.lengths(data), 0
        self.steps = s.epochs * math.ceil(len(data) / s.batch_size)
        self.half = _half(model, s.precision, device)
        self.pruner = Pruner(model, s.sparsity, s.pruning) if s.sparsity else None
        self.blocks = [[p for p in block.parameters() if p.requires_grad] for block in model.blocks()]

    def epoch(self, epoch: int, advance: Callable[[int], None]) -> float:
        """One pass over all rows in random order; the mean loss of a row."""
        self.parts.train()
        if self.settings.unfreeze is not None:
            self.thaw(1 + (epoch - 1) // self.settings.unfreeze)
        order = batches.shuffled(self.lengths, self.settings.batch_size, self.seed, epoch)
        losses = torch.zeros(len(order), device=self.device)
        for i, rows in enumerate(order):
            losses[i] = self._learn(rows, epoch)
            advance(len(rows))
            if (i + 1) % CHECKED == 0 or i + 1 == len(order):
                _check_finite(losses[:i + 1], epoch, self.settings)
        sizes = torch.tensor([len(rows) for rows in order], device=self.device)
        return float((losses * sizes).sum() / sizes.sum())

    def is_whole(self) -> bool:
        """Whether the network has the shape that it is to have in the end: an epoch before that is not selected."""
        return self.pruner is None or self.pruner.is_done()

    def thaw(self, blocks: int) -> None:
        """Train this many of the model's blocks, counted from its top, and leave the others as they are."""
        for i, parameters in enumerate(self.blocks):
            for parameter in parameters:
                parameter.requires_grad_(i < blocks)

    def _learn(self, rows: np.ndarray, epoch: int) -> Tensor:
        progress = (self.step + 0.5) / self.steps
        batch = to_device(collate(self.data, rows, self.labels, epoch, self.seed), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            student = self.model(batch, self.parts_read)
        loss = self._loss(student, self.teacher(rows, self.device) if self.teacher else None, batch, progress)
        if not loss.requires_grad:
            raise UserError(f"epoch {epoch}: no term of the loss reads what is trained while the layers below are "
                            "frozen; take unfreeze away, or add a term on the logits")
        loss.backward()
        self.optimiser.step(self.rate(progress), self.settings.clip)
        if self.pruner:
            self.pruner.step(progress)
        self.step += 1
        return loss.detach()

    def _loss(self, student: Outputs, teacher: Outputs | None, batch: Batch, progress: float) -> Tensor:
        each = [t.weight(progress) * t.objective(student, teacher, batch, progress) for t in self.terms]
        return torch.stack(each).sum(0).mean()


class _Best:
    """The weights of the epoch with the best dev score; a score that is not a number is the worst."""

    def __init__(self, model: Model):
        self.live = [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
        self.kept: list[Tensor] | None = None
        self.epoch, self.score, self.misses, self.seen = 0, math.nan, 0, 0

    @torch.no_grad()
    def see(self, epoch: int, score: float) -> None:
        self.seen = epoch
        if self.epoch and not score > (-math.inf if math.isnan(self.score) else self.score):
            self.misses += 1
            return
        self.epoch, self.score, self.misses = epoch, score, 0
        if self.kept is None:
            self.kept = [t.detach().clone() for t in self.live]
        else:
            torch._foreach_copy_(self.kept, self.live)

    @torch.no_grad()
    def restore(self) -> None:
        if self.seen != self.epoch:
            torch._foreach_copy_(self.live, self.kept)


def predict(model: Model, data: Encoded, device: str | torch.device = "cpu", batch_size: int | None = None,
            tokens: int | None = None, dtype: torch.dtype | None = None, title: str | None = None) -> np.ndarray:
    """Logits float32 [n, C] of encoded rows, in their order; batches are made of rows of like length.

    batch_size, tokens: rows and padded tokens that a batch may hold; None: what suits the device.
    dtype: autocast to it, None: as the weights are. title: shows a progress bar under this name.
    """
    plan, parts = [], []
    for rows, said in answers(model, data, (), device, batch_size, tokens, dtype, title):
        plan.append(rows)
        parts.append(said.logits)
    if not parts:
        return np.empty((0, 0), np.float32)
    logits = torch.cat(parts).float().cpu().numpy()
    found = np.empty_like(logits)
    found[np.concatenate(plan)] = logits
    return found


def answers(model: Model, data: Encoded, parts: Collection[str], device: str | torch.device = "cpu",
            batch_size: int | None = None, tokens: int | None = None, dtype: torch.dtype | None = None,
            title: str | None = None) -> Iterator[tuple[np.ndarray, Outputs]]:
    """(positions of rows [B], what the model says of them) for batch after batch; arguments as in `predict`.

    parts: of Outputs, beyond the logits. With "vectors" the logits can be differentiated by them; else nothing that is
    computed between two batches is recorded for derivatives.
    """
    _check_segments(model, data)
    return _asked(model, data, lambda batch: model(batch, parts), "vectors" in parts, device, batch_size, tokens, dtype,
                  title)


def representations(model: Model, data: Encoded, cls: bool = False, device: str | torch.device = "cpu",
                    title: str | None = None) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """(positions of rows [B], the states of their texts by name [B, d]), batch after batch, as `answers` gives them."""
    return _asked(model, data, lambda batch: model.representations(batch, cls), False, device, title=title)


def _asked(model: Model, data: Encoded, ask: Callable[[Batch], T], slopes: bool, device: str | torch.device,
           batch_size: int | None = None, tokens: int | None = None, dtype: torch.dtype | None = None,
           title: str | None = None) -> Iterator[tuple[np.ndarray, T]]:
    """(positions of rows, what `ask` says of their batch), in batches of rows of like length."""
    device, was_training = torch.device(device), model.training
    model.to(device).eval()
    most, budget = INFERENCE.get(device.type, INFERENCE["cuda"])
    still = contextlib.nullcontext() if slopes else torch.inference_mode()
    try:
        with cores_for(model), still, torch.autocast(device.type, dtype, enabled=dtype is not None):
            with bar(title, len(data)) if title else _silence() as advance:
                for rows in batches.by_length(batches.lengths(data), batch_size or most, tokens or budget):
                    yield rows, ask(to_device(collate(data, rows), device))
                    advance(len(rows))
    finally:
        model.train(was_training)


@contextmanager
def _silence() -> Iterator[Callable[[int], None]]:
    yield lambda n: None


def _check(model: Model, terms: Sequence[Term], data: Encoded, labels: np.ndarray, teacher: Teacher | None) -> None:
    _check_segments(model, data)
    if not len(data):
        raise UserError("no rows to train on")
    sizes = {"labels": len(labels), **({"teacher": len(teacher)} if teacher else {})}
    if any(size != len(data) for size in sizes.values()):
        raise ValueError(f"{len(data)} rows, but {sizes}")
    lacking = frozenset().union(*(t.objective.needs for t in terms)) - (teacher.parts if teacher else frozenset())
    if lacking or not terms:
        raise ValueError(f"terms lack the signals {sorted(lacking)}" if lacking else "a loss needs at least one term")


def _check_segments(model: Model, data: Encoded) -> None:
    if len(data.segments) != model.segments:
        raise UserError(f"the model {type(model).__name__} reads {model.segments} text(s) in a row, the rows hold "
                        f"{len(data.segments)}; pairs need the model siamese, or bert with the vocabulary wordpieces")


def _check_finite(losses: Tensor, epoch: int, settings: Settings) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        i = int(bad[0])
        raise UserError(f"epoch {epoch}, batch {i + 1}: the loss is {float(losses[i])}; "
                        f"try a lower lr (now {settings.lr:g}) or a smaller clip (now {settings.clip})")


def _half(model: Model, precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and model.half and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"
