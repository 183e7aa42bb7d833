"""A trained model that labels text: `Predictor.load(folder)(texts)`. Safetensors and JSON only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from kdpipe import modelfolder
from kdpipe.errors import UserError, memory_said_plainly
from kdpipe.modelfolder import Loaded
from kdpipe.types import row_ids

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Answer:
    """label and confidence (softmax probability) in classification; score in regression. The others are None."""

    label: str | None
    confidence: float | None
    score: float | None
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Predictor:
    """Labels texts, or pairs of texts where the model was trained on pairs."""

    loaded: Loaded
    device: str = "cpu"

    @classmethod
    @memory_said_plainly("predict")
    def load(cls, folder: str | Path, device: str = "cpu") -> Predictor:
        """A student's folder in the store, or any checkpoint with a trained head. Raises UserError."""
        path = modelfolder.find(folder)
        modelfolder.check_weights(path)
        names = None if (path / modelfolder.CARD).is_file() else modelfolder.hf_labels(path)
        return cls(modelfolder.load(path, names), device)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded.card.labels

    def __call__(self, texts: Sequence[Text], first: int = 1) -> list[Answer]:
        """One answer for each text, in order.

        Raises UserError for an empty text, naming its row; `first` is the number of the first one.
        """
        logits = self.logits(texts, first)
        return [self._answer(row) for row in logits]

    @memory_said_plainly("predict")
    def logits(self, texts: Sequence[Text], first: int = 1) -> np.ndarray:
        """Texts [n] -> float32 [n, C]."""
        from kdpipe.train import predict

        if not len(texts):
            return np.empty((0, self.loaded.card.outputs), np.float32)
        encoded = self.loaded.vocab.encode(self._rows(texts, first), self.loaded.max_length)
        return predict(self.loaded.model, encoded, device=self.device)

    def stream(self, texts: Iterable[Text], size: int = 1024) -> Iterator[tuple[Text, Answer]]:
        """Any number of texts in constant memory."""
        held: list[Text] = []
        done = 0
        for text in texts:
            held.append(text)
            if len(held) == size:
                yield from zip(held, self(held, done + 1), strict=True)
                done, held = done + size, []
        yield from zip(held, self(held, done + 1), strict=True)

    def _rows(self, texts: Sequence[Text], start: int) -> pa.Table:
        each = [text for t in texts for text in (t if isinstance(t, tuple) else (t,))]
        if isinstance(texts, str) or not all(isinstance(text, str) for text in each):
            raise UserError(f"found {texts!r:.200}; give a list of texts, or of pairs as tuples")
        pairs = [isinstance(t, tuple) for t in texts]
        if any(pairs) != all(pairs) or (pairs[0] != self.loaded.card.pair and self._knows_pairs()):
            wanted = "pairs (text_a, text_b)" if self.loaded.card.pair else "single texts"
            raise UserError(f"this model was trained on {wanted}; give each row as such")
        first = [t[0] if isinstance(t, tuple) else t for t in texts]
        second = [t[1] if isinstance(t, tuple) else None for t in texts]
        empty = [i for i, (a, b) in enumerate(zip(first, second, strict=True), start) if not a.strip() or b == ""]
        if empty:
            raise UserError(f"empty text in row {', '.join(map(str, empty[:5]))}: there is nothing to label")
        a, b = pa.chunked_array([pa.array(first, pa.string())]), pa.chunked_array([pa.array(second, pa.string())])
        label = pa.nulls(len(first), pa.float64())
        return pa.table({"id": row_ids(a, b), "text_a": a, "text_b": b, "label": label})

    def _knows_pairs(self) -> bool:
        return bool(self.loaded.card.task)

    def _answer(self, logits: np.ndarray) -> Answer:
        values = tuple(float(v) for v in logits)
        if self.loaded.card.kind == "regression":
            return Answer(None, None, values[0], values)
        shifted = np.exp(logits - logits.max())
        best = int(logits.argmax())
        return Answer(self.labels[best], float(shifted[best] / shifted.sum()), None, values)
