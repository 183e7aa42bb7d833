"""Which of the teacher's units are active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    Projections,
    check_layers,
    last,
    number,
    one_of,
    pair_faults,
    pairs_of,
    refuse,
    uniform,
)
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"uniform": uniform, "last": last}


class ActivationBoundaries(Objective):
    """sum_f rho_f relu(mu - r_f)² + (1 - rho_f) relu(mu + r_f)², rho_f whether the teacher's unit f is active.

    Heo et al. 2019, arXiv:1811.03233. r = W h_S + b, of the student's state of the text, is always learned, and dropped
    after training. There units are those of a convolution and r a convolution with batch normalisation; here they are
    the F units of a layer's feed-forward network at the state of the text, active where the value before GELU is above
    0.
    layers: "uniform": m <- m L_T / L_S for m = 1 .. L_S; "last": the last layers; or named. The terms of the pairs are
        summed; the authors' code gives them weights 1/4, 1/2, 1 towards the top and multiplies by 3 / 1000.
    margin: mu, above 0.
    reduction: over units, "sum", the paper's, or "mean".
    Raises UserError for other values.
    """

    needs = frozenset({"boundaries"})
    reads = frozenset({"cls"})

    def __init__(self, layers: str | Sequence = "uniform", margin: float = 1.0,
                 reduction: Literal["sum", "mean"] = "sum"):
        super().__init__()
        check_layers("boundaries", layers, WORDS)
        number("boundaries", "margin", margin, 0, above=True)
        one_of("boundaries", "reduction", reduction, ("sum", "mean"))
        self.layer_map, self.margin, self.reduction = layers, float(margin), reduction

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there, or the teacher has no feed-forward network."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        none = [] if teacher.ffn else ["boundaries: the teacher has no feed-forward network; take a transformer"]
        refuse(pair_faults("boundaries", self.layer_map, self.pairs, student, teacher) + none)
        self.connectors = Projections({s: (student.width, teacher.ffn) for s, _ in self.pairs}, bias=True, always=True)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """The student's states [B, H] and which of the teacher's units are active [B, F], by layer -> losses [B]."""
        losses = []
        for s, t in self.pairs:
            r = self.connectors.project(s, student.cls[s])
            squares = (self.margin + torch.where(teacher.boundaries[t], -r, r)).relu().square()
            losses.append(squares.sum(-1) if self.reduction == "sum" else squares.mean(-1))
        return torch.stack(losses).sum(0)
