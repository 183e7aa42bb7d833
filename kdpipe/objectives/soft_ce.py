"""Cross-entropy with the teacher's distribution."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from kdpipe.errors import did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher, refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs

REDUCTIONS = ("sum_c", "mean_c")


class SoftCrossEntropy(Objective):
    """-sum_c softmax(z_T / t)_c log softmax(z_S / t)_c, in nats.

    Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, L_pred. It is KL(teacher || student) plus the teacher's entropy, so
    its least value is not 0. There is no t²: gradients shrink as t grows.
    temperature: t > 0.
    reduction: "sum_c" sums over classes, as the formula does; "mean_c" divides by C, as TinyBERT's code does.
    Raises UserError for other values, with every fault.
    """

    needs = frozenset({"logits"})
    kinds = frozenset({"classification"})

    def __init__(self, temperature: float = 1.0, reduction: Literal["sum_c", "mean_c"] = "sum_c"):
        super().__init__()
        faults = []
        if type(temperature) not in (int, float) or not 0 < temperature < float("inf"):
            faults.append(f"soft_ce: temperature = {temperature!r}; allowed: a number above 0")
        if reduction not in REDUCTIONS:
            faults.append(f"soft_ce: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        refuse(faults)
        self.temperature, self.reduction = float(temperature), reduction

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        p = F.softmax(of_teacher(teacher.logits) / self.temperature, dim=-1)
        each = -p * F.log_softmax(full(student.logits) / self.temperature, dim=-1)
        return each.mean(-1) if self.reduction == "mean_c" else each.sum(-1)
