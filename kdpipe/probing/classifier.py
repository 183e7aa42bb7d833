"""The probing classifier, many of them side by side: every layer and setting is one slice of a batched network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SEED = 1111  # SentEval's
EPOCHS, AT_ONCE, TENACITY, BATCH, RATE = 200, 4, 5, 64, 1e-3
_CHUNK = 2048  # rows that are answered at once


@dataclass(frozen=True)
class Setting:
    """hidden: units, 0: logistic regression. dropout: before the sigmoid. l2: weight decay of Adam."""

    hidden: int
    dropout: float
    l2: float


_L2 = (1e-5, 1e-4, 1e-3, 1e-2)
GRIDS: dict[str, tuple[Setting, ...]] = {
    "quick": tuple(Setting(50, 0.0, l2) for l2 in _L2),
    "full": tuple(Setting(*s) for s in product((50, 100, 200), (0.0, 0.1, 0.2), _L2)),
    "linear": tuple(Setting(0, 0.0, l2) for l2 in _L2),
}


@dataclass(frozen=True)
class Probe:
    """The best classifier of one layer. accuracy: on the rows that it was chosen on; epochs: that it had learned."""

    setting: Setting
    accuracy: float
    epochs: int
    weights: tuple[Tensor, ...]

    @torch.inference_mode()
    def __call__(self, states: np.ndarray) -> np.ndarray:
        """States [n, d] -> classes [n]."""
        found = [_answer(self.weights, x.float()).argmax(-1) for x in torch.from_numpy(states).split(_CHUNK)]
        return torch.cat(found).numpy()


def _answer(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    made = x @ weights[0] + weights[1]
    return torch.sigmoid(made) @ weights[2] + weights[3] if len(weights) == 4 else made


def fit(states: np.ndarray, labels: np.ndarray, chosen_on: np.ndarray, gold: np.ndarray, classes: int,
        grid: Sequence[Setting], seed: int = SEED) -> list[Probe]:
    """The best probe of each layer: states [G, n, d] of G layers and labels [n] to learn from, states [G, m, d] and
    labels [m] to choose by.

    Linear(d, H), dropout, sigmoid, Linear(H, C), or Linear(d, C), by Adam on the mean cross-entropy of 64 rows; after
    every 4 epochs, of 200 at most, accuracy is looked at, and what has been no better for the sixth time, in a row or
    not, is left. As SentEval's code has it (github.com/facebookresearch/SentEval, 5d6dc11, tools/classifier.py).
    First weights, the order of rows and dropout depend on the seed alone, not on what is trained beside. Of equal
    settings the first of the grid is taken.
    """
    best: list[Probe | None] = [None] * len(states)
    with _one_thread():
        for hidden in dict.fromkeys(s.hidden for s in grid):
            some = [s for s in grid if s.hidden == hidden]
            for g, probe in enumerate(_SideBySide(states, labels, classes, some, seed).trained(chosen_on, gold)):
                if best[g] is None or probe.accuracy > best[g].accuracy:
                    best[g] = probe
    return best


@contextmanager
def _one_thread() -> Iterator[None]:
    """A second thread only slows networks this small, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _SideBySide:
    """G layers x K settings of one hidden size. Weights: [G, d, K H], [G, 1, K H]; [G K, H, C], [G K, 1, C]."""

    def __init__(self, states: np.ndarray, labels: np.ndarray, classes: int, grid: Sequence[Setting], seed: int):
        self.x, self.y = torch.from_numpy(states), torch.from_numpy(labels.astype(np.int64))
        self.grid, self.hidden, self.classes = grid, grid[0].hidden, classes
        self.random = torch.Generator().manual_seed(seed)
        self.layers = list(range(len(states)))  # that are still trained
        self._begin(states.shape[-1])

    def _begin(self, d: int) -> None:
        G, K, H = len(self.layers), len(self.grid), self.hidden or self.classes
        first, bias = self._uniform(d, (d, H)), self._uniform(d, (1, H))
        weights = [first.repeat(G, 1, K), bias.repeat(G, 1, K)]
        if self.hidden:
            weights += [self._uniform(H, (H, self.classes)).repeat(G * K, 1, 1),
                        self._uniform(H, (1, self.classes)).repeat(G * K, 1, 1)]
        self.weights = [w.requires_grad_() for w in weights]
        self.optimiser = torch.optim.Adam(self.weights, lr=RATE, fused=True)

    def _uniform(self, width: int, shape: tuple[int, ...]) -> Tensor:
        """As nn.Linear begins with so many inputs."""
        return (2 * torch.rand(shape, generator=self.random) - 1) / width**0.5

    def trained(self, chosen_on: np.ndarray, gold: np.ndarray) -> list[Probe]:
        """The best setting of each layer, as it was at its best look."""
        held, gold = torch.from_numpy(chosen_on), torch.from_numpy(gold.astype(np.int64))
        G, K = len(self.x), len(self.grid)
        accuracy, epochs = torch.full((G, K), -1.0), torch.zeros(G, K, dtype=torch.int64)
        misses, kept = torch.zeros(G, K, dtype=torch.int64), self._copies()
        for epoch in range(AT_ONCE, EPOCHS + 1, AT_ONCE):
            for _ in range(AT_ONCE):
                self._epoch()
            left = self.layers
            now = self._accuracy(held[left], gold)
            better = (now > accuracy[left]) & (misses[left] <= TENACITY)
            misses[left] += ~better
            accuracy[left] = torch.where(better, now, accuracy[left])
            epochs[left] = torch.where(better, epoch, epochs[left])
            self._keep(kept, better)
            self._leave([i for i, g in enumerate(left) if (misses[g] > TENACITY).all()])
            if not self.layers:
                break
        top = accuracy.argmax(1)
        return [Probe(self.grid[k], float(accuracy[g, k]), int(epochs[g, k]), tuple(self._slice(kept, g, int(k))))
                for g, k in enumerate(top)]

    def _epoch(self) -> None:
        order = torch.randperm(len(self.y), generator=self.random)
        x = self.x if len(self.layers) == len(self.x) else self.x[self.layers]
        for rows in order.split(BATCH):
            said = self._forward(x[:, rows].float(), self._noise(len(rows)))
            truth = self.y[rows].repeat(len(said))
            functional.cross_entropy(said.flatten(0, 1), truth, reduction="sum").div(len(rows)).backward()
            for weight, decay in zip(self.weights, self._decays(), strict=True):
                weight.grad.addcmul_(weight.detach(), decay)
            self.optimiser.step()
            self.optimiser.zero_grad()

    def _decays(self) -> list[Tensor]:
        l2, H = torch.tensor([s.l2 for s in self.grid]), self.hidden or self.classes
        outer, inner = l2.repeat_interleave(H)[None, None], l2.repeat(len(self.layers))[:, None, None]
        return [outer, outer, inner, inner][:len(self.weights)]

    def _noise(self, rows: int) -> Tensor | None:
        """What hidden units are multiplied by, [B, K H]: one draw for all layers and settings."""
        rates = torch.tensor([s.dropout for s in self.grid])
        if not rates.any():
            return None
        drawn = torch.rand(rows, 1, self.hidden, generator=self.random)
        return ((drawn >= rates[:, None]) / (1 - rates[:, None])).flatten(1)

    def _forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """States [G, B, d] -> logits [G K, B, C]."""
        G, B, _ = x.shape
        made = torch.baddbmm(self.weights[1], x, self.weights[0])
        if self.hidden:
            made = torch.sigmoid(made if noise is None else made * noise)
        made = made.view(G, B, len(self.grid), -1).transpose(1, 2).reshape(G * len(self.grid), B, -1)
        return torch.baddbmm(self.weights[3], made, self.weights[2]) if self.hidden else made

    @torch.no_grad()
    def _accuracy(self, held: Tensor, gold: Tensor) -> Tensor:
        right = sum((self._forward(x.float()).argmax(-1) == y).sum(-1)
                    for x, y in zip(held.split(_CHUNK, 1), gold.split(_CHUNK), strict=True))
        return (right / len(gold)).view(len(held), -1)

    def _copies(self) -> list[Tensor]:
        return [w.detach().clone() for w in self.weights]

    @torch.no_grad()
    def _keep(self, kept: list[Tensor], better: Tensor) -> None:
        """Copy the weights of those that are better, [layers that are left, K], to where all layers' are kept."""
        K, H = len(self.grid), self.hidden or self.classes
        wide = better.repeat_interleave(H, 1)[:, None]
        for i, (weight, target) in enumerate(zip(self.weights, kept, strict=True)):
            where = wide if i < 2 else better.flatten()[:, None, None]
            left = self.layers if i < 2 else [g * K + k for g in self.layers for k in range(K)]
            target[left] = torch.where(where, weight, target[left])

    def _leave(self, done: Sequence[int]) -> None:
        """Train these layers, by their place among those that are left, no further."""
        if not done:
            return
        K, stay = len(self.grid), [i for i in range(len(self.layers)) if i not in done]
        self.layers, before = [self.layers[i] for i in stay], self.weights
        keep = [stay, stay, *[[i * K + k for i in stay for k in range(K)]] * 2]
        self.weights = [w.detach()[rows].requires_grad_() for w, rows in zip(before, keep, strict=False)]
        state = {w: self.optimiser.state[w] for w in before}
        self.optimiser = torch.optim.Adam(self.weights, lr=RATE, fused=True)
        for old, new, rows in zip(before, self.weights, keep, strict=False):
            self.optimiser.state[new] = {name: value if name == "step" else value[rows]
                                         for name, value in state[old].items()}

    def _slice(self, kept: Sequence[Tensor], g: int, k: int) -> list[Tensor]:
        H = self.hidden or self.classes
        outer = [w[g, :, k * H:(k + 1) * H].clone() for w in kept[:2]]
        return outer + [w[g * len(self.grid) + k].clone() for w in kept[2:]]
