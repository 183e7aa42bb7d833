"""Which tokens the teacher's hidden units answer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    check_layers,
    last,
    of_teacher,
    one_of,
    pair_faults,
    pairs_of,
    real,
    refuse,
    teacher_layers,
    unit,
)
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"last": last}


class NST(Objective):
    """mean_ii' k(f_T,i, f_T,i') + mean_jj' k(f_S,j, f_S,j') - 2 mean_ij k(f_T,i, f_S,j), f a unit's pattern.

    Huang and Wang 2017, arXiv:1707.01219, L_MMD². There f is a channel's map, divided by its norm; here the values of a
    hidden unit at the text's real tokens, so that n numbers stand for a text. Widths may differ, tokens may not.
    kernel: "poly": k(x, y) = <x, y>²; "linear": <x, y>.
    layers: "last": the last layers; or named. The terms of the pairs are summed.
    With F [n, H] of such columns the loss is ||F_T F_T' / H_T - F_S F_S' / H_S||², or ||F_T 1 / H_T - F_S 1 / H_S||² if
    linear: no matrix of H_T x H_S. The paper's weight is lambda / 2. TextBrewer's "nst" does not divide by norms, and
    divides by n².
    Raises UserError for other values.
    """

    needs = frozenset({"hidden"})
    reads = frozenset({"hidden"})
    aligned = True

    def __init__(self, kernel: Literal["poly", "linear"] = "poly", layers: str | Sequence = "last"):
        super().__init__()
        one_of("nst", "kernel", kernel, ("poly", "linear"))
        check_layers("nst", layers, WORDS)
        self.kernel, self.layer_map = kernel, layers

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher)
        refuse(pair_faults("nst", self.layer_map, self.pairs, student, teacher))
        self.layers = {"hidden": teacher_layers(self.pairs)}

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, N, H] by layer on both sides -> losses [B]."""
        away = [self._embedded(full(student.hidden[s]), student.mask)
                - self._embedded(of_teacher(teacher.hidden[t]), student.mask) for s, t in self.pairs]
        return torch.stack(away, 1).square().flatten(1).sum(1)

    def _embedded(self, states: Tensor, mask: Tensor) -> Tensor:
        """The mean over units of what the kernel sees of a pattern: [B, N, N] or [B, N]."""
        patterns = unit(real(states, mask), dim=1)
        if self.kernel == "linear":
            return patterns.mean(-1)
        return patterns @ patterns.transpose(1, 2) / patterns.shape[-1]
