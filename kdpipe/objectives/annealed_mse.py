"""Regression of the teacher's logits, scaled up step by step."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from kdpipe.errors import did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher, refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs

REDUCTIONS = ("mean_c", "sum_c")


class AnnealedMSE(Objective):
    """||z_S - Phi z_T||², in squared logits, with Phi = k / tau_max, k = 1 .. tau_max.

    Jafari et al. 2021, arXiv:2104.07163, stage I; their Phi(T) = 1 - (T - 1) / tau_max for T = tau_max down to 1. The
    student is not tempered. Each k has the same share of the phase and Phi ends at 1; their code lets it run past 1
    where tau_max does not divide the epochs.
    tau_max: the number of values of Phi, 7 or 14 in the paper.
    reduction: "mean_c" divides by C; "sum_c" is the norm that the paper prints.
    Raises UserError for other values, with every fault.
    """

    needs = frozenset({"logits"})
    target = "logits"

    def __init__(self, tau_max: int = 7, reduction: Literal["mean_c", "sum_c"] = "mean_c"):
        super().__init__()
        faults = []
        if type(tau_max) is not int or tau_max < 1:
            faults.append(f"annealed_mse: tau_max = {tau_max!r}; allowed: a whole number from 1")
        if reduction not in REDUCTIONS:
            faults.append(f"annealed_mse: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        refuse(faults)
        self.tau_max, self.reduction = tau_max, reduction

    def phi(self, progress: float) -> float:
        """Progress in [0, 1] -> the scale of the teacher's logits."""
        return min(self.tau_max, math.floor(progress * self.tau_max) + 1) / self.tau_max

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] or scores [B, 1] on both sides -> losses [B]."""
        squares = (full(student.logits) - self.phi(progress) * of_teacher(teacher.logits)).square()
        return squares.mean(-1) if self.reduction == "mean_c" else squares.sum(-1)
