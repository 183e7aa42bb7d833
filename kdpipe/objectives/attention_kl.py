"""The teacher's attention, as distributions over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    SCHEDULES,
    check_layers,
    head_faults,
    in_force,
    of_teacher,
    one_of,
    pair_faults,
    pairs_of,
    refuse,
    teacher_layers,
    token_mean,
    uniform,
)
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"uniform": uniform}


class AttentionKL(Objective):
    """sum_m mean over heads and real queries i of KL(P_T,g(m),i || P_S,m,i), in nats, P_i = softmax over real keys.

    Aguilar et al. 2020, arXiv:1910.03723. No code of theirs is known: that rows and heads are averaged and layers
    summed is our reading.
    layers: "uniform": g(m) = m L_T / L_S for m = 1 .. L_S, 2, 4, .. 12 for 12 -> 6; or named.
    schedule: "all" pairs of layers at once; "progressive" (their PID): one after the other from the bottom; "stacked"
        (their SID): each stays when the next one comes. Training is cut evenly over the pairs; theirs moves up after
        so many epochs, or when the loss is low enough.
    Raises UserError for other values.
    """

    needs = frozenset({"attention"})
    reads = frozenset({"attention"})
    aligned = True

    def __init__(self, layers: str | Sequence = "uniform",
                 schedule: Literal["all", "progressive", "stacked"] = "all"):
        super().__init__()
        check_layers("attention_kl", layers, WORDS)
        one_of("attention_kl", "schedule", schedule, SCHEDULES)
        self.layer_map, self.schedule = layers, schedule

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there or the numbers of heads differ."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        refuse(pair_faults("attention_kl", self.layer_map, self.pairs, student, teacher)
               + head_faults("attention_kl", student, teacher))
        self.layers = {"attention": teacher_layers(self.pairs)}

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Scores [B, A, N, N] by layer on both sides -> losses [B]."""
        losses = []
        for s, t in in_force(self.pairs, self.schedule, progress):
            log_q = _log_attention(full(student.attention[s]), student.mask)
            log_p = _log_attention(of_teacher(teacher.attention[t]), student.mask)
            rows = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1).mean(1)
            losses.append(token_mean(rows, student.mask))
        return torch.stack(losses).sum(0)


def _log_attention(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores [B, A, N, N] -> log softmax over real keys; 0 at padded ones, which then add nothing to a divergence."""
    padded = ~mask[:, None, None, :]
    clean = scores.masked_fill(~mask[:, None, :, None], 0).masked_fill(padded, -torch.inf)
    return clean.log_softmax(-1).masked_fill(padded, 0)
