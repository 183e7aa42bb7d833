"""The direction of the teacher's states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    SCHEDULES,
    Projections,
    check_layers,
    flags,
    in_force,
    last,
    of_teacher,
    one_of,
    pair_faults,
    pairs_of,
    real,
    refuse,
    teacher_layers,
    token_mean,
    uniform,
    unit,
    width_faults,
    widths_of,
)
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"last": last, "uniform": uniform}


class CosineState(Objective):
    """sum over pairs of layers of 1 - cos(h_S, h_T).

    on: "tokens": the mean over real tokens (Sanh et al. 2019, DistilBERT, arXiv:1910.01108, on the last layers, where
        its code averages over the real tokens of the batch, so that longer texts weigh more); "cls": the state of the
        text (Aguilar et al. 2020, arXiv:1910.03723, on every layer).
    layers: "last": the last layers; "uniform": m <- m L_T / L_S for m = 1 .. L_S; or named.
    project: whether a learned linear map takes the student's states to the teacher's width where widths differ.
    schedule: "all" pairs of layers at once; "progressive" (Aguilar's PID): one after the other from the bottom;
        "stacked" (SID): each stays when the next one comes. Training is cut evenly over the pairs.
    Raises UserError for other values.
    """

    def __init__(self, on: Literal["tokens", "cls"] = "tokens", layers: str | Sequence = "last", project: bool = True,
                 schedule: Literal["all", "progressive", "stacked"] = "all"):
        super().__init__()
        one_of("cosine", "on", on, ("tokens", "cls"))
        check_layers("cosine", layers, WORDS)
        one_of("cosine", "schedule", schedule, SCHEDULES)
        flags("cosine", project=project)
        self.aligned = on == "tokens"
        self.needs = self.reads = frozenset({"hidden" if self.aligned else "cls"})
        self.layer_map, self.project, self.schedule = layers, project, schedule

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there, or widths differ and project = false."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        widths = widths_of(self.pairs, student, teacher)
        refuse(pair_faults("cosine", self.layer_map, self.pairs, student, teacher)
               + width_faults("cosine", widths.values(), self.project))
        self.layers = {"hidden": teacher_layers(self.pairs)} if self.aligned else {}
        self.maps = Projections(widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, N, H] or [B, H] by layer on both sides -> losses [B]."""
        loss = self._of_tokens if self.aligned else self._of_texts
        return torch.stack([loss(s, t, student, teacher)
                            for s, t in in_force(self.pairs, self.schedule, progress)]).sum(0)

    def _of_tokens(self, s: int, t: int, student: Outputs, teacher: Outputs) -> Tensor:
        ours = self.maps.project(s, real(student.hidden[s], student.mask))
        return token_mean(_away(ours, real(of_teacher(teacher.hidden[t]), student.mask)), student.mask)

    def _of_texts(self, s: int, t: int, student: Outputs, teacher: Outputs) -> Tensor:
        return _away(self.maps.project(s, student.cls[s]), of_teacher(teacher.cls[t]))


def _away(ours: Tensor, theirs: Tensor) -> Tensor:
    """[..., H] -> 1 - cos [...]"""
    return 1 - (unit(ours) * unit(theirs)).sum(-1)
