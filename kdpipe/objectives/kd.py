"""The teacher's softened distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from kdpipe.errors import UserError, did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher, refuse
from kdpipe.objectives._precision import full
from kdpipe.schedules import Schedule, as_schedule, extremes
from kdpipe.types import Batch, Outputs

COLDEST, HOTTEST = 1e-3, 1e6  # beyond them a softmax in float32 is a step, or flat
REDUCTIONS = ("sum_c", "mean_c")


class HintonKD(Objective):
    """T² KL(softmax(z_T / T) || softmax(z_S / T)), in nats.  Hinton et al. 2015, arXiv:1503.02531, section 2.

    temperature: T > 0, or a schedule of it over progress in [0, 1].
    reduction: "sum_c" sums over classes, as the formula does; "mean_c" divides by C, as the code of PKD and TAKD does.
    t_squared: whether T² is there, which keeps the gradients in scale when T changes; TextBrewer and Tang's code for
        pairs leave it out.
    Raises UserError for other values, with every fault.
    """

    needs = frozenset({"logits"})
    kinds = frozenset({"classification"})

    def __init__(self, temperature: float | Mapping | Schedule = 2.0,
                 reduction: Literal["sum_c", "mean_c"] = "sum_c", t_squared: bool = True):
        super().__init__()
        faults = []
        try:
            self.temperature = _above_zero(as_schedule(temperature))
        except UserError as e:
            faults += [f"kd: temperature: {fault}" for fault in e.faults]
        if reduction not in REDUCTIONS:
            faults.append(f"kd: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        if type(t_squared) is not bool:
            faults.append(f"kd: t_squared = {t_squared!r}; allowed: true or false")
        refuse(faults)
        self.reduction, self.t_squared = reduction, t_squared

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        T = self.temperature(progress)
        log_p = F.log_softmax(of_teacher(teacher.logits) / T, dim=-1)
        log_q = F.log_softmax(full(student.logits) / T, dim=-1)
        each = F.kl_div(log_q, log_p, log_target=True, reduction="none")
        divergence = each.mean(-1) if self.reduction == "mean_c" else each.sum(-1)
        return T**2 * divergence if self.t_squared else divergence


def _above_zero(schedule: Schedule) -> Schedule:
    least, most = extremes(schedule)
    if not COLDEST <= least <= most <= HOTTEST:
        raise UserError(f"reaches {least if least < COLDEST else most:g}; allowed: from {COLDEST:g} to {HOTTEST:g} "
                        "throughout")
    return schedule
