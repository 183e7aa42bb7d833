"""A bidirectional LSTM over word vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe.errors import UserError
from kdpipe.models import Encoder
from kdpipe.models._checks import check, one_of
from kdpipe.models._head import classifier
from kdpipe.types import Tokens

Channels = Literal["trained", "frozen", "multichannel"]
_TABLES = {"trained": ("trained",), "frozen": ("frozen",), "multichannel": ("frozen", "trained")}


class BiLSTM(Encoder):
    """Word vectors -> BiLSTM -> [last forward; last backward state] (2H) -> Linear, ReLU, dropout -> Linear.

    Tang et al. 2019, arXiv:1903.12136, section 3.1. Non-embedding parameters of one layer with E inputs:
    8H(E + H) + 16H + 2HF + F + FC + C. The states are those at each sentence's true end, whatever its padding.

    width: of one token vector; "multichannel" (one frozen and one trained copy, joined) makes E = 2 width.
    vectors: float32 [V, width], or None: drawn from U[-0.25, 0.25]. The padding vector is and stays zero.
    Raises UserError for arguments that cannot be.
    """

    reads = ("words", "wordpieces")

    def __init__(self, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None, width: int = 300,
                 hidden: int = 150, fc: int = 200, dropout: float = 0.1, layers: int = 1,
                 channels: Channels = "trained"):
        super().__init__()
        check("bilstm", {"width": width, "hidden": hidden, "fc": fc, "layers": layers}, {"dropout": dropout})
        one_of("bilstm", "channels", channels, _TABLES)
        start = _start(vocab_size, width, vectors)
        self.tables = nn.ModuleDict({name: _table(start, trained=name == "trained") for name in _TABLES[channels]})
        widths = [width * len(self.tables), *[2 * hidden] * (layers - 1)]
        self.layers = nn.ModuleList(_BothWays(w, hidden) for w in widths)
        self.state_width = 2 * hidden
        self.head = None if outputs is None else classifier(self.state_width, fc, outputs, dropout)

    def encode(self, tokens: Tokens) -> Tensor:
        """Token ids [B, N] -> [last forward; last backward state], [B, 2H]."""
        ids, lengths = tokens.ids.t(), tokens.mask.sum(1)
        mirror = _mirror(lengths, len(ids))
        states = torch.cat([table(ids) for table in self.tables.values()], dim=-1)
        for layer in self.layers[:-1]:
            ahead, behind = layer(states, mirror)
            states = torch.cat([ahead, _reorder(behind, mirror)], dim=-1)
        last = (lengths - 1) * len(lengths) + torch.arange(len(lengths), device=lengths.device)
        return torch.cat([_rows(s).index_select(0, last) for s in self.layers[-1](states, mirror)], dim=-1)

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.tables.parameters()


class _BothWays(nn.Module):
    """Two LSTMs over [N, B, E], one of which reads every row from its true end.

    With ready batches of near-equal lengths this is as fast as packed sequences on one thread and 1.1 to 1.75 times
    as fast on two, because PyTorch runs packed sequences on CPU without oneDNN.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.ahead, self.behind = nn.LSTM(width, hidden), nn.LSTM(width, hidden)

    def forward(self, states: Tensor, mirror: Tensor) -> tuple[Tensor, Tensor]:
        """States [N, B, E] -> forward states and backward states in reading order, each [N, B, H]."""
        return self.ahead(states)[0], self.behind(_reorder(states, mirror))[0]


def _mirror(lengths: Tensor, n: int) -> Tensor:
    """Lengths [B] -> flat places [N * B] that turn each row of an [N, B] array round within its own length."""
    place, row = torch.arange(n, device=lengths.device)[:, None], torch.arange(len(lengths), device=lengths.device)
    turned = torch.where(place < lengths, lengths - 1 - place, place)
    return (turned * len(lengths) + row).flatten()


def _reorder(states: Tensor, places: Tensor) -> Tensor:
    return _rows(states).index_select(0, places).view_as(states)


def _rows(states: Tensor) -> Tensor:
    return states.reshape(-1, states.shape[-1])


def _start(vocab_size: int, width: int, vectors: np.ndarray | None) -> Tensor:
    """Token vectors before training, [V, width]; row 0, the padding, is zero."""
    if vectors is not None and vectors.shape != (vocab_size, width):
        raise UserError(f"bilstm: vectors of {vectors.shape[0]} tokens and width {vectors.shape[1]}, "
                        f"the vocabulary has {vocab_size} tokens and the model width = {width}; make them equal")
    start = torch.empty(vocab_size, width).uniform_(-0.25, 0.25) if vectors is None else torch.tensor(vectors)
    start[0] = 0
    return start


def _table(start: Tensor, trained: bool) -> nn.Embedding:
    return nn.Embedding.from_pretrained(start.clone(), freeze=not trained, padding_idx=0)
