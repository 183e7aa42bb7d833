"""The teacher's text states, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    Pairs,
    Projections,
    check_layers,
    flags,
    of_teacher,
    one_of,
    pair_faults,
    pairs_of,
    refuse,
    uniform,
    unit,
    width_faults,
    widths_of,
)
from kdpipe.types import Batch, Outputs, Shape


def _skip(student: int, teacher: int) -> Pairs:
    return uniform(student, teacher)[:-1]


def _last(student: int, teacher: int) -> Pairs:
    return tuple((m, teacher - student + m) for m in range(1, student))


WORDS = {"skip": _skip, "last": _last}


class PatientKD(Objective):
    """sum_j ||h_S,j / ||h_S,j|| - h_T,I(j) / ||h_T,I(j)||||², h the state of the text after layer j = 1 .. L_S - 1.

    Sun et al. 2019, arXiv:1908.09355, L_PT. The student's last layer is left out: the logits teach it.
    layers: "skip": I(j) = j L_T / L_S, 2, 4, .. 10 for 12 -> 6; "last": the layers below the teacher's last, 7 .. 11
        for 12 -> 6; or named.
    normalize: whether the states are divided by their norms; the paper's code searches over it.
    reduction: "sum" is the paper's; "mean" is its code's, which divides by (L_S - 1) H: a weight of 500 there is one of
        0.13 here for 6 layers of 768.
    project: whether a learned linear map takes the student's states to the teacher's width where widths differ; the
        paper has equal ones.
    Raises UserError for other values.
    """

    needs = frozenset({"cls"})
    reads = frozenset({"cls"})

    def __init__(self, layers: str | Sequence = "skip", normalize: bool = True,
                 reduction: Literal["sum", "mean"] = "sum", project: bool = True):
        super().__init__()
        check_layers("pkd", layers, WORDS)
        one_of("pkd", "reduction", reduction, ("sum", "mean"))
        flags("pkd", normalize=normalize, project=project)
        self.layer_map, self.normalize, self.reduction, self.project = layers, normalize, reduction, project

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there, or widths differ and project = false."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        widths = widths_of(self.pairs, student, teacher)
        refuse(pair_faults("pkd", self.layer_map, self.pairs, student, teacher)
               + width_faults("pkd", widths.values(), self.project))
        self.maps = Projections(widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, H] by layer on both sides -> losses [B]."""
        away = [self._scaled(self.maps.project(s, student.cls[s])) - self._scaled(of_teacher(teacher.cls[t]))
                for s, t in self.pairs]
        squares = torch.stack(away, 1).square()
        return squares.sum((1, 2)) if self.reduction == "sum" else squares.mean((1, 2))

    def _scaled(self, states: Tensor) -> Tensor:
        return unit(states) if self.normalize else states
