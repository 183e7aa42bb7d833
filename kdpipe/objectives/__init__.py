"""Objectives: one loss term a file. The contract of the room."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from kdpipe.types import Batch, Outputs, Shape


class Objective(nn.Module):
    """One term of a loss, one value for each example; the caller weighs, sums and averages.

    needs: the parts of the teacher's Outputs that it reads ("logits", ...); empty for a term on labels alone.
    reads: the parts of the student's Outputs that it reads.
    aligned: whether token i of the student must be token i of the teacher.
    target: what it draws the student to where two terms with the same word would draw it to two different values: a
        phase may hold one of them.
    layers: after `bind`, the teacher's layers that it reads of "hidden" and "attention" (of others, it gets all).
    A row to which the term does not apply (no label, say) gives 0 and no gradient.
    """

    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset({"logits"})
    aligned: bool = False
    target: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    layers: Mapping[str, tuple[int, ...]] = {}

    def bind(self, student: Shape, teacher: Shape | None) -> None:
        """Settle layer maps and make projections; called once, before the first batch, under the training's seed.

        Raises UserError where the two networks do not allow it, with every fault.
        """

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch, progress: float) -> Tensor:
        """Both sides' outputs -> losses [B]; progress in [0, 1] through the training of the phase."""


PIPELINE = frozenset()
PART = Objective
