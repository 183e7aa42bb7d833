"""The class that the teacher names."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs


class TeacherLabel(Objective):
    """Cross-entropy with the teacher's most probable class, in nats: what it says, without how sure it is.

    Pseudo-labels: Lee 2013, ICML workshop on challenges in representation learning. The rung between gold labels and
    soft ones: what it gains is the teacher's on rows without labels, what soft ones gain over it is their softness.
    """

    needs = frozenset({"logits"})
    kinds = frozenset({"classification"})

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        return F.cross_entropy(full(student.logits), of_teacher(teacher.logits).argmax(-1), reduction="none")
