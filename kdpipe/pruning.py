"""Pruning while a network is trained: its smallest weights become 0 and stay so."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROWS_UNTIL = 0.5  # progress through the training; then the network learns to live with what is left
_CUTS = 50  # times that weights are chosen while the share grows: each looks at all of them


class Pruner:
    """Global magnitude pruning: of all matrices but the tables of tokens and positions, the smallest |w| become 0.

    Kim and Rush 2016, arXiv:1606.07947, section 4.4 prune a distilled student and train it on with the same answers.
    sparsity: the share of these weights that is 0 in the end. way: "one_shot" prunes after the first step; "cubic" as
    1 - (1 - p / 0.5)^3 of it up to progress p = 0.5 (Zhu and Gupta 2017, arXiv:1710.01878, equation 1).
    Zeros in dense matrices make a network smaller when packed, not faster.
    """

    def __init__(self, model: nn.Module, sparsity: float, way: str):
        self.weights, self.sparsity, self.way = prunable(model), sparsity, way
        self.kept = [torch.ones_like(w, dtype=torch.bool) for w in self.weights]
        self.cuts = 0

    @torch.no_grad()
    def step(self, progress: float) -> None:
        """After a step of the optimiser: choose further weights where it is time, and set all chosen ones to 0."""
        due = 1 if self.way == "one_shot" else min(int(progress / _GROWS_UNTIL * _CUTS), _CUTS)
        if due > self.cuts:
            self.cuts = due
            grown = 1.0 if self.way == "one_shot" else 1 - (1 - due / _CUTS) ** 3
            self._choose(self.sparsity * grown)
        for weight, kept in zip(self.weights, self.kept, strict=True):
            weight.mul_(kept)

    def is_done(self) -> bool:
        return self.cuts == (1 if self.way == "one_shot" else _CUTS)

    def _choose(self, share: float) -> None:
        """What is 0 has the smallest size of all, so what was pruned once is chosen again."""
        for weight, kept in zip(self.weights, self.kept, strict=True):
            weight.mul_(kept)
        sizes = torch.cat([w.abs().flatten() for w in self.weights])
        n = round(share * len(sizes))
        if n:
            chosen = torch.ones_like(sizes, dtype=torch.bool)
            chosen[sizes.topk(n, largest=False).indices] = False
            cuts = [w.numel() for w in self.weights]
            self.kept = [part.view_as(w) for part, w in zip(chosen.split(cuts), self.weights, strict=True)]


def prunable(model: nn.Module) -> list[Tensor]:
    """The trained matrices of a network but its tables: no bias, no norm."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return [p for p in model.parameters() if p.requires_grad and p.ndim > 1 and id(p) not in tables]


def sparsity(model: nn.Module) -> float:
    """The share of these weights that is 0."""
    weights = prunable(model)
    return sum(int((w == 0).sum()) for w in weights) / max(sum(w.numel() for w in weights), 1)
