"""The teacher's attention scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    check_layers,
    head_faults,
    of_teacher,
    pair_faults,
    pairs_of,
    refuse,
    teacher_layers,
    uniform,
)
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"uniform": uniform}


class AttentionMSE(Objective):
    """sum_m mean over heads and the n x n real pairs of tokens of (A_S,m - A_T,g(m))², A = Q K^T / sqrt(d).

    Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, L_attn. The scores are those before mask and softmax.
    layers: "uniform": g(m) = m L_T / L_S for m = 1 .. L_S, 3, 6, 9, 12 for 12 -> 4; or named.
    TinyBERT's code takes the mean over all N x N places of the padded batch and sets to 0 those whose masked score is
    -100 or less: padded keys. Padded queries stay in its mean.
    Raises UserError for other values.
    """

    needs = frozenset({"attention"})
    reads = frozenset({"attention"})
    aligned = True

    def __init__(self, layers: str | Sequence = "uniform"):
        super().__init__()
        check_layers("attention_mse", layers, WORDS)
        self.layer_map = layers

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there or the numbers of heads differ."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        refuse(pair_faults("attention_mse", self.layer_map, self.pairs, student, teacher)
               + head_faults("attention_mse", student, teacher))
        self.layers = {"attention": teacher_layers(self.pairs)}

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Scores [B, A, N, N] by layer on both sides -> losses [B]."""
        padding = ~(student.mask[:, None, :, None] & student.mask[:, None, None, :])
        real_pairs = student.mask.sum(1).square().clamp(min=1)
        losses = []
        for s, t in self.pairs:
            ours, theirs = (scores.masked_fill(padding, 0)
                            for scores in (full(student.attention[s]), of_teacher(teacher.attention[t])))
            losses.append((ours - theirs).square().mean(1).sum((1, 2)) / real_pairs)
        return torch.stack(losses).sum(0)
