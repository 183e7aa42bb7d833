"""The models of runs, loaded when they are first asked and few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kdpipe import answerer
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

    def ask(self, run: str, text_a: str, text_b: str | None) -> Said:
        """What the model of a run answers now. Raises UserError where it is gone."""
        if not self.store.exists(self.store.run(run)):
            raise UserError(f"{run}: its record is not in the store any more; load the page again")
        record = self.store.read_json(self.store.run(run))
        with self._one:
            found = self._find(record)
            logits = found.logits([text_a if text_b is None else (text_a, text_b)])[0, list(found.loaded.order)]
        return said(tuple(logits.tolist()), tuple(record["labels"]))

    def _find(self, record: Mapping[str, Any]) -> Predictor:
        from kdpipe.predictor import Predictor

        answerer.folder_of(self.store, record)  # it may have gone since it was loaded
        run = record["run"]
        if run not in self._loaded:
            self._loaded[run] = Predictor(answerer.load(self.store, record))
        self._loaded.move_to_end(run)
        while len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)
        return self._loaded[run]


def said(logits: tuple[float, ...], labels: tuple[str, ...]) -> Said:
    """Logits [C] and the names of the classes, none for a regression."""
    if not labels:
        return Said(f"{logits[0]:.2f}", None)
    shares = np.exp(np.array(logits) - max(logits))
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[:_TOP]
    return Said(labels[best[0]], float(shares[best[0]]), tuple((labels[i], float(shares[i])) for i in best))
