"""The models of runs, loaded when they are first asked and few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kdpipe.errors import UserError
from kdpipe.store import Store

if TYPE_CHECKING:
    from kdpipe.predictor import Predictor

_KEPT = 4  # models in memory
_TOP = 5  # classes of an answer that are shown


@dataclass(frozen=True)
class Said:
    """An answer for reading: the class or score, how sure, and the likeliest classes with their probabilities."""

    answer: str
    confidence: float | None
    classes: tuple[tuple[str, float], ...] = ()


class Models:
    """Asks one text of a model at a time."""

    def __init__(self, store: Store):
        self.store = store
        self._loaded: OrderedDict[str, Predictor] = OrderedDict()
        self._one = threading.Lock()

    def ask(self, key: str | None, text_a: str, text_b: str | None) -> Said:
        """What the model in a folder of the store answers now. Raises UserError where there is none."""
        with self._one:
            [answer] = (found := self._find(key))([text_a if text_b is None else (text_a, text_b)])
        return said(answer.logits, found.labels)

    def _find(self, key: str | None) -> Predictor:
        from kdpipe.predictor import Predictor

        if key is None or not self.store.has_model(key):
            raise UserError(f"its model is not in this store (models/{key}); copy it there, or make it again")
        if key not in self._loaded:
            self._loaded[key] = Predictor.load(self.store.local_model(key))
        self._loaded.move_to_end(key)
        while len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)
        return self._loaded[key]


def said(logits: tuple[float, ...], labels: tuple[str, ...]) -> Said:
    """Logits [C] and the names of the classes, none for a regression."""
    if not labels:
        return Said(f"{logits[0]:.2f}", None)
    shares = np.exp(np.array(logits) - max(logits))
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[:_TOP]
    return Said(labels[best[0]], float(shares[best[0]]), tuple((labels[i], float(shares[i])) for i in best))
