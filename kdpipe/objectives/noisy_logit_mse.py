"""Regression of the teacher's logits under noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kdpipe.draws import row_keys, uniforms
from kdpipe.errors import did_you_mean
from kdpipe.objectives import Objective
from kdpipe.objectives._layers import of_teacher, refuse
from kdpipe.objectives._precision import full
from kdpipe.types import Batch, Outputs

REDUCTIONS = ("mean_c", "sum_c")


class NoisyLogitMSE(Objective):
    """||z_S - (1 + xi) z_T||², xi ~ N(0, sigma²) for each class, in squared logits.

    Sau and Balasubramanian 2016, arXiv:1610.09650, eq. 2. The noise multiplies: a logit of 0 stays 0. It is a function
    of (seed, the training's seed, epoch, row), drawn anew in every epoch as in the paper's Algorithm 1, and the same
    whatever else is in the batch.
    sigma: deviation of the noise. p: share of the rows that get it in an epoch (the paper's alpha).
    reduction: "mean_c" divides by C; "sum_c" is the norm. The paper halves the norm; here is no half, so that without
        noise this is plain regression of the logits.
    Raises UserError for other values, with every fault.
    """

    needs = frozenset({"logits"})
    target = "logits"

    def __init__(self, sigma: float = 0.6, p: float = 0.5, seed: int = 0,
                 reduction: Literal["mean_c", "sum_c"] = "mean_c"):
        super().__init__()
        faults = []
        if type(sigma) not in (int, float) or not 0 <= sigma < float("inf"):
            faults.append(f"noisy_logit_mse: sigma = {sigma!r}; allowed: a number from 0")
        if type(p) not in (int, float) or not 0 <= p <= 1:
            faults.append(f"noisy_logit_mse: p = {p!r}; allowed: a number from 0 to 1")
        if type(seed) is not int or seed < 0:
            faults.append(f"noisy_logit_mse: seed = {seed!r}; allowed: a whole number from 0")
        if reduction not in REDUCTIONS:
            faults.append(f"noisy_logit_mse: reduction = {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}")
        refuse(faults)
        self.sigma, self.p, self.seed, self.reduction = float(sigma), float(p), seed, reduction

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch, progress: float) -> Tensor:
        """Logits [B, C] on both sides -> losses [B]."""
        squares = (full(student.logits) - self.noisy(of_teacher(teacher.logits), batch)).square()
        return squares.mean(-1) if self.reduction == "mean_c" else squares.sum(-1)

    def noisy(self, logits: Tensor, batch: Batch) -> Tensor:
        """A teacher's logits [B, C] -> what it says of these rows in this epoch [B, C]."""
        rows = batch.rows.cpu().numpy().astype(np.uint64)
        keys = row_keys(self.seed, f"noisy_logit_mse/{batch.seed}", rows, batch.epoch)
        chosen = uniforms(keys) < self.p
        factors = np.where(chosen[:, None], 1 + self.sigma * _normals(keys, logits.shape[-1]), 1.0)
        return torch.from_numpy(factors).to(logits) * logits


def _normals(keys: np.ndarray, n: int) -> np.ndarray:
    """Keys [B] -> float64 [B, n] from N(0, 1), by Box and Muller's transform of the uniforms at positions 1 to 2n."""
    places = np.tile(np.arange(n), len(keys))
    many = np.repeat(keys, n)
    radius = np.sqrt(-2 * np.log1p(-uniforms(many, 1 + 2 * places)))
    return (radius * np.cos(2 * np.pi * uniforms(many, 2 + 2 * places))).reshape(len(keys), n)
