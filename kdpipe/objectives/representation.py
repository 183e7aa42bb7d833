"""The teacher's last state of a text."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape


class Representation(Objective):
    """1/2 ||gelu(W z_S + b) - z_T||², z the last layer's state of the text.

    Mukherjee and Awadallah 2019, arXiv:1910.01769, L_RL. W and b are always learned. gelu is nowhere below -0.17: what
    z_T has below that is out of reach.
    """

    needs = frozenset({"cls"})
    reads = frozenset({"cls"})

    def bind(self, student: Shape, teacher: Shape) -> None:
        self.pair = student.layers, teacher.layers
        self.map = nn.Linear(student.width, teacher.width)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, H] by layer on both sides -> losses [B]."""
        s, t = self.pair
        return (F.gelu(self.map(full(student.cls[s]))) - of_teacher(teacher.cls[t])).square().sum(-1) / 2
