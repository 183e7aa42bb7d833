"""Token vectors of models that begin with a table of them."""

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe.errors import UserError


def token_vectors(model: str, vocab_size: int, width: int, vectors: np.ndarray | None) -> Tensor:
    """Token vectors before training, [V, width]; row 0, the padding, is zero. Raises UserError for another shape."""
    if vectors is not None and vectors.shape != (vocab_size, width):
        raise UserError(f"{model}: vectors of {vectors.shape[0]} tokens and width {vectors.shape[1]}, "
                        f"the vocabulary has {vocab_size} tokens and the model width = {width}; make them equal")
    start = torch.empty(vocab_size, width).uniform_(-0.25, 0.25) if vectors is None else torch.tensor(vectors)
    start[0] = 0
    return start


def table(start: Tensor, trained: bool) -> nn.Embedding:
    return nn.Embedding.from_pretrained(start.clone(), freeze=not trained, padding_idx=0)


def redraw_table(table: nn.Embedding, start: Tensor) -> None:
    """Put other vectors in a table, trained or frozen."""
    with torch.no_grad():
        table.weight.copy_(start)
