"""The teacher's derivatives by its input."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kdpipe.errors import UserError
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher, one_of, real, token_mean
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape


class Sobolev(Objective):
    """Mean over real tokens t of ||g_S,t - g_T,t||², g_t = d <v, z> / d e_t, e_t the vector of token t.

    Czarnecki et al. 2017, arXiv:1706.04859; Papamakarios 2015, arXiv:1510.02437. v is the one-hot vector of the
    teacher's largest logit, and 1 for a score. The papers sum over all of the input and project on random v; one fixed
    direction is what a cache can hold, and a mean does not grow with the text.
    match: "saliency" compares the numbers <g_t, e_t>, whatever the widths of the two networks; "gradient" compares
        g_t itself, for networks that read token vectors of one width.
    It differentiates the student twice: its layers must allow that. The student's derivatives are those of the pass
    that the other terms see, dropout and all; a second pass without it would double the cost of a batch.
    Raises UserError for another value.
    """

    needs = frozenset({"logits", "saliency"})
    reads = frozenset({"logits", "vectors"})
    aligned = True

    def __init__(self, match: Literal["saliency", "gradient"] = "saliency"):
        super().__init__()
        one_of("sobolev", "match", match, ("saliency", "gradient"))
        self.match = match
        self.needs = frozenset({"logits", match})

    def bind(self, student: Shape, teacher: Shape | None) -> None:
        """Raises UserError where gradients are to be compared and the token vectors differ in width."""
        if self.match == "gradient" and student.embedding != teacher.embedding:
            raise UserError(f"sobolev: match = 'gradient': the student's token vectors have {student.embedding} "
                            f"numbers, the teacher's {teacher.embedding}; take match = 'saliency', or a student of "
                            "this width")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """Logits [B, C], vectors [B, N, E], the teacher's derivatives [B, N] or [B, N, E] -> losses [B]."""
        v = of_teacher(teacher.logits).argmax(-1, keepdim=True)  # of a score: 0, its only place
        said = student.logits.gather(-1, v).sum()  # rows do not mix: each gets the derivatives of its own logit
        g, = torch.autograd.grad(said, student.vectors, create_graph=True)
        if self.match == "saliency":
            g = (full(g) * full(student.vectors)).sum(-1)
        away = full(g) - of_teacher(getattr(teacher, self.match))
        return _norms(away, student.mask)


def _norms(away: Tensor, mask: Tensor) -> Tensor:
    """[B, N] or [B, N, E] -> the mean over real tokens of their squared norms [B]."""
    away = real(away.reshape(*mask.shape, -1), mask)
    return token_mean(away.square().sum(-1), mask)
