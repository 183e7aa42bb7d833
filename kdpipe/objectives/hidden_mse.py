"""The teacher's token states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdpipe.objectives import Objective
from kdpipe.objectives._layers import (
    Pairs,
    Projections,
    check_layers,
    flags,
    of_teacher,
    pair_faults,
    pairs_of,
    real,
    refuse,
    teacher_layers,
    token_mean,
    uniform,
    width_faults,
    widths_of,
)
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs, Shape


def _uniform(student: int, teacher: int) -> Pairs:
    pairs = uniform(student, teacher)
    return ((0, 0), *pairs) if pairs else ()


WORDS = {"uniform": _uniform}


class HiddenMSE(Objective):
    """sum_m mean over real tokens and units of (H_S,m W_m - H_T,g(m))², layer 0 that of the embeddings.

    Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, L_embd and L_hidn; one named pair is the hint of Romero et al. 2015
    (FitNets), arXiv:1412.6550.
    layers: "uniform": g(m) = m L_T / L_S for m = 0 .. L_S, 0, 3, 6, 9, 12 for 12 -> 4; or named, the first for the
        student's layer 0.
    project: whether there are learned matrices W_m where widths differ.
    share_projection: whether one W, with a bias, serves all layers, equal widths too, as in TinyBERT's code.
    tinybert_compat: whether the mean runs over padding too, as in TinyBERT's code: then the loss of a text depends on
        the longest text of its batch, and on what stands in the padding.
    Raises UserError for other values.
    """

    needs = frozenset({"hidden"})
    reads = frozenset({"hidden"})
    aligned = True

    def __init__(self, layers: str | Sequence = "uniform", project: bool = True, share_projection: bool = False,
                 tinybert_compat: bool = False):
        super().__init__()
        check_layers("hidden_mse", layers, WORDS)
        flags("hidden_mse", project=project, share_projection=share_projection, tinybert_compat=tinybert_compat)
        if share_projection and not project:
            refuse(["hidden_mse: share_projection = true with project = false; take one of them away"])
        self.layer_map, self.project, self.compat = layers, project, tinybert_compat
        self.share_projection = share_projection

    def bind(self, student: Shape, teacher: Shape) -> None:
        """Raises UserError where layers are not there, or widths do not allow the projection that is asked for."""
        self.pairs = pairs_of(self.layer_map, WORDS, student, teacher, first=0)
        widths = widths_of(self.pairs, student, teacher)
        refuse(pair_faults("hidden_mse", self.layer_map, self.pairs, student, teacher, first=0)
               + width_faults("hidden_mse", widths.values(), self.project)
               + (_sharing_faults(widths.values()) if self.share_projection else []))
        self.layers = {"hidden": teacher_layers(self.pairs)}
        self.maps = nn.Linear(*widths[self.pairs[0][0]]) if self.share_projection else Projections(widths)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch | None, progress: float) -> Tensor:
        """States [B, N, H] by layer on both sides -> losses [B]."""
        return torch.stack([self._loss(s, student.hidden[s], of_teacher(teacher.hidden[t]), student.mask)
                            for s, t in self.pairs]).sum(0)

    def _loss(self, layer: int, ours: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
        if self.compat:
            return (self._projected(layer, ours) - theirs).square().mean((1, 2))
        away = self._projected(layer, real(ours, mask)) - real(theirs, mask)
        return token_mean(away.square().mean(-1), mask)

    def _projected(self, layer: int, states: Tensor) -> Tensor:
        return self.maps(full(states)) if self.share_projection else self.maps.project(layer, states)


def _sharing_faults(widths) -> list[str]:
    kinds = [f"{ours} -> {theirs}" for ours, theirs in sorted(set(widths))]
    return [] if len(kinds) < 2 else [
        f"hidden_mse: share_projection = true: the widths of the layers are {', '.join(kinds)}; take it away, or name "
        "layers of one width"]
