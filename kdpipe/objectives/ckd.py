"""Several of the teacher's text states at once, from one of the student's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    Projections,
    bucket_faults,
    buckets_of,
    check_buckets,
    even_buckets,
    of_teacher,
    refuse,
    wide_buckets,
)
from kdpipe.types import Batch, Outputs, Shape

WORDS = {"no": even_buckets, "po": wide_buckets}


class CombinatorialKD(Objective):
    """sum_j mean (W_j h_S,j + b_j - concat_{k in A(j)} h_T,k)², the mean over all |A(j)| H_T numbers.

    Wu et al. 2020, "Why Skip If You Can Combine", EMNLP 2020, arXiv:2010.03034. h is the state of the text; the paper
    translates, and takes the states of tokens. W_j, b_j are always learned, and on the student's side, as in the
    paper's code: on the teacher's they could shrink to nothing.
    buckets: "no": disjoint runs of layers, 1-3 and 4-6 for 6 -> 2; "po": these longer by one layer on each side, 1-4
        and 3-6; or named. The code's other three are known for 6 -> 2 only: skip-middle [[1, 2], [5, 6]], cross
        [[1, 3], [4, 6]], skip-comb [[1, 3, 5], [2, 4, 6]].
    Raises UserError for other values.
    """

    needs = frozenset({"cls"})
    reads = frozenset({"cls"})

    def __init__(self, buckets: str | Sequence = "no"):
        super().__init__()
        check_buckets("ckd", buckets, WORDS)
        self.bucket_map = buckets

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there."""
        self.buckets = buckets_of(self.bucket_map, WORDS, student, teacher)
        refuse(bucket_faults("ckd", self.bucket_map, self.buckets, student, teacher))
        widths = {m: (student.width, len(bucket) * teacher.width) for m, bucket in self.buckets}
        self.maps = Projections(widths, bias=True, always=True)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, H] by layer on both sides -> losses [B]."""
        losses = []
        for m, bucket in self.buckets:
            theirs = torch.cat([of_teacher(teacher.cls[t]) for t in bucket], -1)
            losses.append((self.maps.project(m, student.cls[m]) - theirs).square().mean(-1))
        return torch.stack(losses).sum(0)
