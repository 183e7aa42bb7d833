"""Objectives: one loss term a file. The contract of the room."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from kdpipe.types import Batch, Outputs


class Objective(nn.Module):
    """One term of a loss, one value for each example; the caller weighs, sums and averages.

    needs: the teacher signals that it reads ("logits", ...); empty for a term on labels alone.
    A row to which the term does not apply (no label, say) gives 0 and no gradient.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch, progress: float) -> Tensor:
        """Both sides' outputs -> losses [B]; progress in [0, 1] through the training of the phase."""


PIPELINE = frozenset()
PART = Objective
