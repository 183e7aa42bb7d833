"""Where a student's token vectors come from before training. The contract of the room; one source a file."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import pyarrow as pa


class Embeddings(ABC):
    """Its constructor's arguments are what a recipe may say."""

    needs_teacher: bool = False

    @abstractmethod
    def vectors(self, tokens: list[str], texts: pa.ChunkedArray, width: int, seed: int, teacher) -> np.ndarray | None:
        """Tokens [V] (id 0 is padding) -> float32 [V, width], row 0 zero; None: let the model draw its own.

        texts: the training texts, for sources that look at words in context.
        teacher: the loaded teacher model (kdpipe.modelfolder.Loaded) where `needs_teacher`, else None.
        """


PIPELINE = frozenset()
PART = Embeddings
