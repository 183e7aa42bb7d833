"""The predictions of a store in memory, as they were at one moment, and what may be chosen of them."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from kdpipe import warehouse
from kdpipe.explore.questions import Choices, Question
from kdpipe.store import Store

_SLICES = ("length", "negation", "unknown_words")


class Held:
    """A snapshot. Any number of threads may ask it."""

    def __init__(self, store: Store):
        self.store, self.seen, self.at = store, _listed(store), datetime.now()
        self._con = warehouse.hold(store, "stg_sliced", "stg_runs", "stg_texts")
        self._adding = threading.Lock()
        self.choices = self._choices()
        self.size = self.one(Question("select count(*) as n from stg_sliced", {}))["n"]

    def ask(self, question: Question) -> list[dict[str, Any]]:
        """All rows of the answer."""
        with self._con.cursor() as cursor:
            return cursor.sql(question.sql, params=dict(question.values) or None).to_arrow_table().to_pylist()

    def one(self, question: Question) -> dict[str, Any]:
        """The one row of the answer."""
        [row] = self.ask(question)
        return row

    def changed(self) -> bool:
        """Whether runs or slices came or went since."""
        return _listed(self.store) != self.seen

    def add_slice(self, name: str, ids: list[bytes]) -> None:
        """Show a slice that was saved just now."""
        sql = "update stg_sliced set saved = list_sort(list_append(saved, $name)) where id in (select unnest($ids))"
        with self._adding, self._con.cursor() as cursor:
            cursor.execute(sql, {"name": name, "ids": ids})
            self.choices = self._choices()
            mine = self.store.slice(name)
            self.seen = tuple(sorted({*self.seen, *(path for path in _listed(self.store) if path == mine)}))

    def _choices(self) -> Choices:
        runs = self.ask(Question("""
            select run, task, task_key, kind, labels, recipe, role, seed, metric, dev_score, test_score, teacher_run,
                transfer_set, model_key, is_latest
            from stg_runs where run in (select distinct run from stg_sliced)
            order by task, is_latest desc, role desc, dev_score desc, run
        """, {}))
        return Choices(
            {run["run"]: run for run in runs}, self._distinct("split"),
            {**{name: self._distinct(name) for name in _SLICES}, "saved": self._distinct("unnest(saved)")})

    def _distinct(self, column: str) -> list[str]:
        found = self.ask(Question(f"select distinct {column} as value from stg_sliced", {}))
        return sorted(row["value"] for row in found)


def _listed(store: Store) -> tuple[str, ...]:
    folders = (store.run("x"), store.slice("x"))
    return tuple(sorted(path for folder in folders for path in store.listing(folder.rsplit("/", 1)[0])))
