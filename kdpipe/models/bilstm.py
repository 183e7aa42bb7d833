"""A bidirectional LSTM over word vectors."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe.models import Encoder, mean
from kdpipe.models._checks import check, one_of
from kdpipe.models._head import classifier
from kdpipe.models._tables import redraw_table, table, token_vectors
from kdpipe.types import Batch, Outputs, Shape, Tokens

Channels = Literal["trained", "frozen", "multichannel"]
_TABLES = {"trained": ("trained",), "frozen": ("frozen",), "multichannel": ("frozen", "trained")}


class BiLSTM(Encoder):
    """Word vectors -> BiLSTM -> [last forward; last backward state] (2H) -> Linear, ReLU, dropout -> Linear.

    Tang et al. 2019, arXiv:1903.12136, section 3.1. Non-embedding parameters of one layer with E inputs:
    8H(E + H) + 16H + 2HF + F + FC + C. The states are those at each sentence's true end, whatever its padding.

    width: of one token vector; "multichannel" (one frozen and one trained copy, joined) makes E = 2 width.
    vectors: float32 [V, width], or None: drawn from U[-0.25, 0.25]. The padding vector is and stays zero.
    pooling: "last": the states above; "max": the largest of each unit over the tokens (Mukherjee and Awadallah 2019,
        arXiv:1910.01769).
    Raises UserError for arguments that cannot be.
    """

    reads = ("words", "wordpieces")

    def __init__(self, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None, width: int = 300,
                 hidden: int = 150, fc: int = 200, dropout: float = 0.1, layers: int = 1,
                 channels: Channels = "trained", pooling: Literal["last", "max"] = "last"):
        super().__init__()
        check("bilstm", {"width": width, "hidden": hidden, "fc": fc, "layers": layers}, {"dropout": dropout})
        one_of("bilstm", "channels", channels, _TABLES)
        one_of("bilstm", "pooling", pooling, ("last", "max"))
        start = token_vectors("bilstm", vocab_size, width, vectors)
        self.tables = nn.ModuleDict({name: table(start, trained=name == "trained") for name in _TABLES[channels]})
        widths = [width * len(self.tables), *[2 * hidden] * (layers - 1)]
        self.layers = nn.ModuleList(_BothWays(w, hidden) for w in widths)
        self.state_width, self.outputs, self.pooling = 2 * hidden, outputs or 0, pooling
        self.head = None if outputs is None else classifier(self.state_width, fc, outputs, dropout)

    @property
    def shape(self) -> Shape:
        """Every layer has the width 2H; the vectors that the first one reads, E."""
        width = sum(table.embedding_dim for table in self.tables.values())
        return Shape(len(self.layers), self.state_width, width, self.outputs,
                     frozenset({"logits", "cls", "hidden", "vectors"}))

    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        """One segment [B, N] -> logits [B, C], the state of each layer and, where asked for, those of the tokens."""
        tokens = batch.segments[0]
        if "vectors" in parts:
            vectors = self._vectors(tokens.ids)
            vectors = vectors if vectors.requires_grad else vectors.requires_grad_()
            with _twice_differentiable():
                pooled, hidden = self._run(tokens, vectors.transpose(0, 1), parts)
        else:
            vectors, (pooled, hidden) = None, self._run(tokens, self._vectors(tokens.ids.t()), parts)
        hidden = {layer: states.transpose(0, 1) for layer, states in hidden.items()} if "hidden" in parts else None
        return Outputs(self.head(pooled[len(self.layers)]), pooled, hidden, mask=tokens.mask, vectors=vectors)

    def encode(self, tokens: Tokens) -> Tensor:
        """Token ids [B, N] -> [last forward; last backward state] or the largest states, [B, 2H]."""
        return self._run(tokens, self._vectors(tokens.ids.t()), ())[0][len(self.layers)]

    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        """The word vectors' mean; of each layer the last states of both directions, and each unit's largest."""
        tokens = batch.segments[0]
        hidden = self._run(tokens, self._vectors(tokens.ids.t()), ("cls", "hidden"))[1]
        found = {"embeddings": mean(hidden[0].transpose(0, 1), tokens.mask)}
        row, end = torch.arange(len(tokens.ids), device=tokens.ids.device), tokens.mask.sum(1) - 1
        for i in range(1, len(hidden)):
            ahead, behind = hidden[i].chunk(2, dim=-1)
            found[f"layer_{i}_last"] = torch.cat([ahead[end, row], behind[0]], dim=-1)
            found[f"layer_{i}_max"] = _largest(hidden[i], tokens.mask)
        return found

    def redraw(self) -> None:
        tables = list(self.tables.values())
        start = token_vectors("bilstm", *tables[0].weight.shape, None)  # both channels begin with the same
        for each in tables:
            redraw_table(each, start)
        for part in self.layers.modules():
            if isinstance(part, nn.LSTM):
                part.reset_parameters()

    def _vectors(self, ids: Tensor) -> Tensor:
        return torch.cat([table(ids) for table in self.tables.values()], dim=-1)

    def _run(self, tokens: Tokens, vectors: Tensor,
             parts: Collection[str]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Token vectors [N, B, E] -> the text's state [B, 2H] and the tokens' states [N, B, 2H] of each layer.

        Only the last layer's state is made unless "cls" is asked for, the tokens' states of the last one only for
        "hidden".
        """
        lengths = tokens.mask.sum(1)
        mirror, last = _mirror(lengths, len(vectors)), len(self.layers)
        end = (lengths - 1) * len(lengths) + torch.arange(len(lengths), device=lengths.device)
        hidden, pooled = {0: vectors}, {}
        for i, layer in enumerate(self.layers, start=1):
            ahead, behind = layer(hidden[i - 1], mirror)
            if i < last or "hidden" in parts or self.pooling == "max":
                hidden[i] = torch.cat([ahead, _reorder(behind, mirror)], dim=-1)
            if i == last or "cls" in parts:
                pooled[i] = (_largest(hidden[i], tokens.mask) if self.pooling == "max" else
                             torch.cat([_rows(s).index_select(0, end) for s in (ahead, behind)], dim=-1))
        return pooled, hidden

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.tables.parameters()

    def blocks(self) -> list[nn.Module]:
        return [*([self.head] if self.head is not None else []), *reversed(self.layers), self.tables]


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """PyTorch's own LSTM inside: those of oneDNN and cuDNN have no second derivative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oneDNN's flags speak of Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield


def _largest(states: Tensor, mask: Tensor) -> Tensor:
    """States [N, B, H] -> the largest of each unit over the real tokens [B, H]."""
    return states.masked_fill(~mask.t()[..., None], -torch.inf).amax(0)


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
