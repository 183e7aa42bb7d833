"""Regression of the teacher's logits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kdpipe.errors import UserError, did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape

REDUCTIONS = ("mean_c", "sum_c")


class LogitMSE(Objective):
    """||z_T - z_S||², in squared logits.  Ba and Caruana 2014, arXiv:1312.6184; Tang et al. 2019, arXiv:1903.12136.

    reduction: "mean_c" divides by C, as Tang's code does; "sum_c" is the norm that the papers print. A learning rate
    or weight does not carry over from one to the other.
    center: whether each row's mean is taken from its logits first, on both sides: the mean moves no probability. For
        classification: of a score nothing would be left.
    Raises UserError for other values, with every fault.
    """

    needs = frozenset({"logits"})
    target = "logits"

    def __init__(self, reduction: Literal["mean_c", "sum_c"] = "mean_c", center: bool = False):
        super().__init__()
        faults = []
        if reduction not in REDUCTIONS:
            faults.append(f"logit_mse: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        if type(center) is not bool:
            faults.append(f"logit_mse: center = {center!r}; allowed: true or false")
        refuse(faults)
        self.reduction, self.center = reduction, center

    def bind(self, student: Shape, teacher: Shape | None) -> None:
        """Raises UserError where a single output would be centred."""
        if self.center and student.outputs == 1:
            raise UserError("logit_mse: center = true leaves nothing of a single output; take it away")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        away = full(student.logits) - full(teacher.logits).detach()
        if self.center:
            away = away - away.mean(-1, keepdim=True)
        squares = away.square()
        return squares.mean(-1) if self.reduction == "mean_c" else squares.sum(-1)
