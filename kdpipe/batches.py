"""Tokenised rows -> padded batches of rows of like length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdpipe.types import Batch, Encoded, Ragged, Tokens

POOL = 64  # training batches that are sorted by length together: little padding, and batches still random


def lengths(data: Encoded) -> np.ndarray:
    """Tokens of each row over all segments, int32 [n]."""
    return sum(segment.lengths.astype(np.int32) for segment in data.segments)


def shuffled(length: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row positions of one epoch's training batches, a function of (seed, epoch): every row once.

    A random order is cut into pools of 64 batches, each pool sorted by length and cut into batches, and the batches
    shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(np.arange(len(length), dtype=np.int32))
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start:start + POOL * batch_size]
        pool[:] = pool[np.argsort(length[pool], kind="stable")]
    batches = np.split(order, range(batch_size, len(order), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(length: np.ndarray, batch_size: int, tokens: int) -> list[np.ndarray]:
    """Row positions of batches for inference, longest first: at most so many rows and padded tokens in each."""
    order = np.argsort(-length, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, min(batch_size, tokens // max(1, int(length[order[start]]))))
        batches.append(order[start:start + size])
        start += size
    return batches


def collate(data: Encoded, rows: np.ndarray, labels: np.ndarray | None = None, epoch: int = 0,
            seed: int = 0) -> Batch:
    """Rows [B] of the data -> a padded batch on the CPU. labels: float [n], NaN where there is none."""
    types = (data.types, *[None] * (len(data.segments) - 1))
    segments = tuple(_pad(s, rows, t) for s, t in zip(data.segments, types, strict=True))
    label = np.full(len(rows), np.nan, np.float32) if labels is None else labels[rows].astype(np.float32)
    has_label = ~np.isnan(label)
    label[~has_label] = 0
    places = torch.from_numpy(rows.astype(np.int64))
    return Batch(segments, torch.from_numpy(label), torch.from_numpy(has_label), places, epoch, seed)


def _pad(segment: Ragged, rows: np.ndarray, types: np.ndarray | None) -> Tokens:
    start = segment.offsets[rows]
    length = segment.offsets[rows + 1] - start
    place = np.arange(length.max())
    mask = place < length[:, None]
    index = np.where(mask, start[:, None] + place, 0)
    kinds = None if types is None else _gather(types, index, mask)
    return Tokens(_gather(segment.flat, index, mask), torch.from_numpy(mask), kinds)


def _gather(flat: np.ndarray, index: np.ndarray, mask: np.ndarray) -> Tensor:
    return torch.from_numpy(np.where(mask, flat[index], 0).astype(np.int64))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; to a GPU by pinned memory, while the GPU still computes the batch before."""
    if device.type == "cpu":
        return batch

    def move(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else send(tensor, device)

    segments = tuple(Tokens(move(t.ids), move(t.mask), move(t.types)) for t in batch.segments)
    return Batch(segments, move(batch.labels), move(batch.has_label), move(batch.rows), batch.epoch, batch.seed)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device, without waiting where the device is a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
