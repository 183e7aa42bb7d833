"""Regression of the teacher's logits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kdpipe.errors import UserError, did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs

REDUCTIONS = ("mean_c", "sum_c")


class LogitMSE(Objective):
    """||z_T - z_S||², in squared logits.  Ba and Caruana 2014, arXiv:1312.6184; Tang et al. 2019, arXiv:1903.12136.

    reduction: "mean_c" divides by C, as Tang's code does; "sum_c" is the norm that the papers print. A learning rate
    or weight does not carry over from one to the other.
    Raises UserError for any other reduction.
    """

    needs = frozenset({"logits"})

    def __init__(self, reduction: Literal["mean_c", "sum_c"] = "mean_c"):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise UserError(f"logit_mse: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        self.reduction = reduction

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        squares = (full(student.logits) - full(teacher.logits).detach()).square()
        return squares.mean(-1) if self.reduction == "mean_c" else squares.sum(-1)
