"""What a teacher says of the rows that a student learns from: out of memory, or by a forward pass for each batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdpipe.batches import send
from kdpipe.signals.kinds import signal
from kdpipe.signals.live import block
from kdpipe.types import Encoded, Outputs, Ragged, Shape, SignalSource, Values

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Said:
    """The teacher of `kdpipe.train.fit`. A live signal is rounded as a stored one is: no one can tell them apart.

    stored: the values of all rows by signal, in their order. live: a source, what it has prepared of the rows, and the
    signals that it is asked for, batch by batch; None where all is stored.
    """

    def __init__(self, rows: int, shape: Shape, stored: Mapping[str, Values],
                 live: tuple[SignalSource, Encoded, Sequence[str]] | None = None):
        self.rows, self.shape, self.stored, self.live = rows, shape, stored, live
        self.parts = frozenset(signal(name).part for name in (*stored, *(live[2] if live else ())))

    def __len__(self) -> int:
        return self.rows

    def __call__(self, rows: np.ndarray, device: torch.device) -> Outputs:
        """Positions of rows [B] -> what the teacher says of them."""
        found = {name: v.take(rows) if isinstance(v, Ragged) else v[rows] for name, v in self.stored.items()}
        if self.live is not None:
            source, prepared, asked = self.live
            found |= source.compute(asked, prepared.take(rows))
        return outputs(found, self.shape, device)


def outputs(found: Mapping[str, Values], shape: Shape, device: torch.device) -> Outputs:
    """The values of signals of a batch [B] -> Outputs on the device, in float32, padded with zeros."""
    import torch

    said = Outputs(logits=None)
    for name, values in found.items():
        s = signal(name)
        numbers = send(torch.from_numpy(values.flat if isinstance(values, Ragged) else values), device)
        if s.part == "logits":
            said.logits = numbers.float()
        elif s.part == "cls":
            states = numbers.float().unflatten(1, (shape.layers, shape.width))
            said.cls = {i: states[:, i - 1] for i in range(1, shape.layers + 1)}
        elif s.part == "boundaries":
            bits = torch.from_numpy(np.unpackbits(values.reshape(len(values), shape.layers, -1), axis=-1,
                                                  count=shape.ffn)).bool().to(device)
            said.boundaries = {i: bits[:, i - 1] for i in range(1, shape.layers + 1)}
        else:
            each = int(s.numbers(shape))
            said.mask = _mask(values.lengths // each, s.part == "attention", device)
            _put(said, s.part, s.layer, _padded(numbers.float(), said.mask, s.part, each))
    return said


def _mask(lengths: np.ndarray, squared: bool, device: torch.device) -> Tensor:
    """Numbers of tokens, or of pairs of tokens [B] -> real tokens [B, N]."""
    import torch

    tokens = torch.from_numpy(np.rint(np.sqrt(lengths)).astype(np.int64) if squared else lengths).to(device)
    return torch.arange(int(tokens.max()), device=device) < tokens[:, None]


def _padded(flat: Tensor, mask: Tensor, part: str, each: int) -> Tensor:
    rows, n = mask.shape
    if part == "attention":
        padded = flat.new_zeros(rows, each, n, n)
        padded[block(mask).expand_as(padded)] = flat
        return padded
    padded = flat.new_zeros(rows, n, each)
    padded[mask] = flat.view(-1, each)
    return padded.squeeze(-1) if part == "saliency" else padded


def _put(said: Outputs, part: str, layer: int | None, values: Tensor) -> None:
    if layer is None:
        setattr(said, part, values)
    else:
        setattr(said, part, {**(getattr(said, part) or {}), layer: values})
