"""The gold label."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.errors import UserError, did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape

SPREADS = ("uniform", "others")


class Hard(Objective):
    """Cross-entropy with the gold class, in nats; in regression (C = 1) the squared error of the score.

    fallback: what stands in for the label of a row that has none: None: nothing, the row gives 0; "teacher": the
        class of the teacher's largest logit, or its score (Tang et al. 2019, arXiv:1903.12136, eq. 3).
    label_smoothing: eps, the share that is taken from the gold class and spread; classification only.
    spread: "uniform": eps / C for every class, so that the gold one has 1 - eps + eps / C (Szegedy et al. 2016,
        arXiv:1512.00567); "others": eps / (C - 1) for each wrong one, as in the code of Yuan et al. 2020
        (arXiv:1909.11723).
    Raises UserError for other values, with every fault.
    """

    def __init__(self, fallback: Literal["teacher"] | None = None, label_smoothing: float = 0.0,
                 spread: Literal["uniform", "others"] = "uniform"):
        super().__init__()
        faults = []
        if fallback not in (None, "teacher"):
            faults.append(f"hard: fallback = {fallback!r}{did_you_mean(str(fallback), ['teacher'])}")
        if type(label_smoothing) not in (int, float) or not 0 <= label_smoothing <= 1:
            faults.append(f"hard: label_smoothing = {label_smoothing!r}; allowed: a number from 0 to 1")
        if spread not in SPREADS:
            faults.append(f"hard: spread = {spread!r}{did_you_mean(str(spread), SPREADS)}")
        refuse(faults)
        self.fallback, self.label_smoothing, self.spread = fallback, float(label_smoothing), spread
        if fallback == "teacher":
            self.needs = frozenset({"logits"})

    def bind(self, student: Shape, teacher: Shape | None) -> None:
        """Raises UserError where a score's label is to be smoothed."""
        if self.label_smoothing and student.outputs == 1:
            raise UserError(f"hard: label_smoothing = {self.label_smoothing:g} is not defined for regression; take it "
                            "away")

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch, progress: float) -> Tensor:
        """Logits [B, C], labels [B] -> losses [B]."""
        logits = full(student.logits)
        if self.fallback == "teacher":
            return self._loss(logits, torch.where(batch.has_label, batch.labels, _answers(teacher)))
        labels = torch.where(batch.has_label, batch.labels, 0.0)
        return torch.where(batch.has_label, self._loss(logits, labels), 0.0)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if logits.shape[-1] == 1:
            return (logits.squeeze(-1) - labels.to(logits.dtype)).square()
        eps, gold = self.label_smoothing, labels.long()
        if self.spread == "uniform" or not eps:
            return F.cross_entropy(logits, gold, reduction="none", label_smoothing=eps)
        right = F.cross_entropy(logits, gold, reduction="none")
        wrong = -F.log_softmax(logits, dim=-1).sum(-1) - right
        return (1 - eps) * right + eps / (logits.shape[-1] - 1) * wrong


def _answers(teacher: Outputs) -> Tensor:
    """Logits [B, C] -> class indices or scores [B]."""
    logits = full(teacher.logits).detach()
    return logits.squeeze(-1) if logits.shape[-1] == 1 else logits.argmax(-1).to(logits.dtype)
