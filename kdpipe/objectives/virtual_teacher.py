"""A teacher made by hand from the gold label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs


class VirtualTeacher(Objective):
    """KL(softmax(p_d / tau) || softmax(z_S)), in nats, with p_d = c on the gold class and (1 - c) / (C - 1) elsewhere.

    Yuan et al. 2020 (Tf-KD_reg), arXiv:1909.11723. The softmax is of probabilities, by design, and the student is not
    tempered. Their code divides by C and multiplies by a constant of the model, 100 for ResNet18 on 100 classes; here
    is neither. For C = 2 the target is almost uniform, so that this is label smoothing.
    c: probability of the gold class, 0.5 to 1; the paper takes 0.9 or more.
    tau: temperature of the target, above 0.
    Raises UserError for other values, with every fault.
    """

    kinds = frozenset({"classification"})

    def __init__(self, c: float = 0.99, tau: float = 20.0):
        super().__init__()
        faults = []
        if type(c) not in (int, float) or not 0.5 <= c <= 1:
            faults.append(f"virtual_teacher: c = {c!r}; allowed: a number from 0.5 to 1")
        if type(tau) not in (int, float) or not 0 < tau < float("inf"):
            faults.append(f"virtual_teacher: tau = {tau!r}; allowed: a number above 0")
        refuse(faults)
        self.c, self.tau = float(c), float(tau)

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch, progress: float) -> Tensor:
        """Logits [B, C], labels [B] -> losses [B]."""
        log_q = F.log_softmax(full(student.logits), dim=-1)
        gold = torch.where(batch.has_label, batch.labels, 0.0).long()[:, None]
        p_d = torch.full_like(log_q, (1 - self.c) / (log_q.shape[-1] - 1)).scatter(-1, gold, self.c)
        log_p = F.log_softmax(p_d / self.tau, dim=-1)
        losses = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)
        return torch.where(batch.has_label, losses, 0.0)
