"""A mixture of the teacher's text states, which the student's own state chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    Buckets,
    Projections,
    bucket_faults,
    buckets_of,
    check_buckets,
    even_buckets,
    flags,
    of_teacher,
    one_of,
    refuse,
    unit,
    wide_buckets,
    width_faults,
)
from kdpipe.types import Batch, Outputs, Shape


def _all(student: int, teacher: int) -> Buckets:
    return tuple((m, tuple(range(1, teacher + 1))) for m in range(1, student + 1))


WORDS = {"all": _all, "no": even_buckets, "po": wide_buckets}


class ALPKD(Objective):
    """sum_j mean_H (h_S,j - C_j)², C_j = sum_k alpha_jk h_T,k over the bucket A(j), alpha_j = softmax_k <h_S,j, h_T,k>.

    Passban et al. 2021, arXiv:2012.14022. h is the state of the text.
    buckets: "all": every layer (ALP); "no": disjoint runs, 1-3, 4-6, 7-9, 10-12 for 12 -> 4 (ALP-NO); "po": these
        longer by one layer on each side (ALP-PO; the paper's exact overlap is not known to us); or named.
    scale: of the product in the softmax: "none", the paper's, whose softmax soon picks one layer at 768 numbers;
        "sqrt_d" divides by sqrt(H); "cosine" takes the cosine.
    detach_alpha: whether no gradient goes to the student through alpha.
    project: whether a learned linear map takes the student's states to the teacher's width first where widths differ;
        the paper has equal ones.
    No code of the authors is known; others' divides by sqrt(H), exponentiates without taking off the largest, which
    overflows, and averages over the student's layers where this sums.
    Raises UserError for other values.
    """

    needs = frozenset({"cls"})
    reads = frozenset({"cls"})

    def __init__(self, buckets: str | Sequence = "all", scale: Literal["none", "sqrt_d", "cosine"] = "sqrt_d",
                 detach_alpha: bool = False, project: bool = True):
        super().__init__()
        check_buckets("alp", buckets, WORDS)
        one_of("alp", "scale", scale, ("none", "sqrt_d", "cosine"))
        flags("alp", detach_alpha=detach_alpha, project=project)
        self.bucket_map, self.scale, self.detach_alpha, self.project = buckets, scale, detach_alpha, project

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there, or widths differ and project = false."""
        self.buckets = buckets_of(self.bucket_map, WORDS, student, teacher)
        widths = {m: (student.width, teacher.width) for m, _ in self.buckets}
        refuse(bucket_faults("alp", self.bucket_map, self.buckets, student, teacher)
               + width_faults("alp", widths.values(), self.project))
        self.maps = Projections(widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, H] by layer on both sides -> losses [B]."""
        losses = []
        for m, bucket in self.buckets:
            ours = self.maps.project(m, student.cls[m])
            theirs = torch.stack([of_teacher(teacher.cls[t]) for t in bucket], 1)  # [B, K, H]
            mixture = (self.alpha(ours, theirs)[..., None] * theirs).sum(1)
            losses.append((ours - mixture).square().mean(-1))
        return torch.stack(losses).sum(0)

    def alpha(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """States [B, H] and [B, K, H] -> the weights of the teacher's layers [B, K]."""
        ours = ours.detach() if self.detach_alpha else ours
        if self.scale == "cosine":
            ours, theirs = unit(ours), unit(theirs)
        products = (ours[:, None] * theirs).sum(-1)
        return (products / ours.shape[-1]**0.5 if self.scale == "sqrt_d" else products).softmax(-1)
