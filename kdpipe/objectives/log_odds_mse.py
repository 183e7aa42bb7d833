"""Regression of the teacher's log odds."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs


class LogOddsMSE(Objective):
    """1/2 sum_c (z_S,c - log(p_c / (1 - p_c)))², p = softmax(z_T), in squared logits.

    Mukherjee and Awadallah 2019, arXiv:1910.01769, L_LL. The student's logits are drawn to each class's odds
    against all others, not to the teacher's logits. The odds of class c are z_c - logsumexp of the other logits, which
    no rounding of p to 1 can make infinite.
    """

    needs = frozenset({"logits"})
    kinds = frozenset({"classification"})
    target = "logits"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]; C² numbers for each row in between."""
        return (full(student.logits) - log_odds(of_teacher(teacher.logits))).square().sum(-1) / 2


def log_odds(logits: Tensor) -> Tensor:
    """Logits [B, C] -> log(p_c / (1 - p_c)) of each class [B, C]."""
    itself = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(itself, -torch.inf)
    return logits - others.logsumexp(-1)
