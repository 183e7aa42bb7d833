"""The mean of word vectors: the cheapest student, which every other one must justify itself against."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from torch import Tensor, nn

from kdpipe.models import Encoder, mean
from kdpipe.models._checks import check
from kdpipe.models._head import classifier
from kdpipe.models._tables import redraw_table, table, token_vectors
from kdpipe.types import Batch, Outputs, Shape, Tokens


class Static(Encoder):
    """Mean of trained word vectors over a text's tokens -> Linear, ReLU, dropout -> Linear; no order, no context.

    A deep averaging network of one hidden layer.  Iyyer et al. 2015, ACL, P15-1162.

    width: of one token vector. vectors: float32 [V, width], or None: drawn from U[-0.25, 0.25]. The padding vector is
    and stays zero. Raises UserError for arguments that cannot be.
    """

    reads = ("words", "wordpieces")

    def __init__(self, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None, width: int = 300,
                 fc: int = 200, dropout: float = 0.1):
        super().__init__()
        check("static", {"width": width, "fc": fc}, {"dropout": dropout})
        self.table = table(token_vectors("static", vocab_size, width, vectors), trained=True)
        self.state_width = width
        self.head = None if outputs is None else classifier(width, fc, outputs, dropout)
        self.outputs = outputs or 0

    @property
    def shape(self) -> Shape:
        return Shape(1, self.state_width, self.state_width, self.outputs, frozenset({"logits", "cls", "vectors"}))

    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        tokens = batch.segments[0]
        vectors = self.table(tokens.ids)
        state = mean(vectors, tokens.mask)
        return Outputs(self.head(state), cls={1: state}, mask=tokens.mask, vectors=vectors)

    def encode(self, tokens: Tokens) -> Tensor:
        """Token ids [B, N] -> the mean of their vectors [B, E]."""
        return mean(self.table(tokens.ids), tokens.mask)

    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        return {"embeddings": self.encode(batch.segments[0])}

    def redraw(self) -> None:
        redraw_table(self.table, token_vectors("static", *self.table.weight.shape, None))

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.table.parameters()

    def blocks(self) -> list[nn.Module]:
        return [*([self.head] if self.head is not None else []), self.table]
