"""Students and their teachers asked again after small changes to the texts of a split (kdpipe.perturb)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe import answerer
from kdpipe.contrast import groups_of
from kdpipe.errors import UserError, memory_said_plainly
from kdpipe.perturb import PERTURBATIONS, perturbed
from kdpipe.predictions import confidence
from kdpipe.significance import Difference, System, compare, holm
from kdpipe.store import Store
from kdpipe.types import PERTURBED

RESAMPLES = 2_000  # for each interval: there are eight of each run


@memory_said_plainly("robustness")
def robustness(store: Store | str, names: Sequence[str] = (), task: str | None = None, split: str = "dev",
               device: str = "cpu") -> list[str]:
    """Ask the models of runs, and their teachers', about perturbed texts of a split; the run ids, teachers first.

    names: recipes, teachers' phases and run ids; none: all latest ones. What was asked before is not asked again.
    Raises UserError for names that are not there, for runs of several tasks, and where answers or a model are missing.
    """
    place = store if isinstance(store, Store) else Store(store)
    groups, _ = groups_of(place, names, task)
    students = [_Asked(place, run, split, device) for runs in groups.values() for run in runs]
    teachers = [s.record["teacher_run"] for s in students if s.record["teacher_run"]]
    there = {name: _Asked(place, name, split, device) for name in teachers if place.exists(place.run(name))}
    found = there | {s.run: s for s in students}
    for each in found.values():
        each.check()
    for each in found.values():
        each.ask()
        each.score()
    return list(found)


@dataclass(frozen=True)
class _Asked:
    """A run and the split whose texts its model is asked about."""

    place: Store
    run: str
    split: str
    device: str

    @cached_property
    def record(self) -> dict[str, Any]:
        return self.place.read_json(self.place.run(self.run))

    @cached_property
    def answers(self) -> pa.Table:
        """What the run answered to the texts as they are: id, text_a, text_b, target, score."""
        found = self.place.read(self.place.predictions(self.run, self.split),
                                ["id", "text_a", "text_b", "target", "score"])
        if found is None:
            raise UserError(f"{self.run}: no answers to {self.split}; allowed are the splits of its task that it was "
                            "evaluated on (dev, and test where there is one)")
        return found

    @property
    def lacking(self) -> list[str]:
        return [name for name in PERTURBATIONS if not self.place.parts(self._folder(name))]

    def _folder(self, name: str) -> str:
        return self.place.perturbed(self.run, self.split, name)

    def check(self) -> None:
        """Raises UserError where the run cannot be asked, before any other is."""
        _ = self.answers
        if self.lacking:
            answerer.folder_of(self.place, self.record)

    def ask(self) -> None:
        if lacking := self.lacking:
            from kdpipe.train import predict

            loaded, texts = answerer.load(self.place, self.record), _distinct(self.answers)
            for name in lacking:
                rows = perturbed(texts, name)
                logits = np.empty((0, max(loaded.order) + 1), np.float32)
                if len(rows):
                    logits = predict(loaded.model, loaded.vocab.encode(rows, loaded.max_length), self.device)
                answered = _answered(rows, logits[:, list(loaded.order)], self.record)
                self.place.write_part(self._folder(name), answered, {"run": self.run})
                self.place.keep_one(self._folder(name))

    def score(self) -> None:
        """Write what each perturbation takes from the score, of those texts of the split that it changes."""
        kept = [name for name, how in PERTURBATIONS.items() if how.keeps]
        found = {name: difference for name in kept if (difference := self._difference(name))}
        told = dict(zip(found, holm([difference for _, _, difference in found.values()]), strict=True))
        scores = [{"perturbation": name, "says": how.says, "keeps_label": how.keeps, "metric": self.record["metric"],
                   **(_said(*found[name][:2], told[name]) if name in found else {})}
                  for name, how in PERTURBATIONS.items()]
        self.place.write_json(self.place.robustness(self.run, self.split),
                              {"run": self.run, "split": self.split, "scores": scores})

    def _difference(self, name: str) -> tuple[float, float, Difference] | None:
        """The score on labelled texts as they are and as changed, and the difference; None where none is changed."""
        others = self.place.read(self._folder(name), ["id", "score"])
        where = pc.index_in(self.answers["id"], value_set=others["id"].combine_chunks())
        both = self.answers.select(["target", "score"]).append_column("other", others["score"].take(where))
        both = both.filter(pc.and_(both["target"].is_valid(), both["other"].is_valid()))
        if not len(both):
            return None
        gold, clean, other = (both[column].to_numpy() for column in ("target", "score", "other"))
        systems = [System("perturbed", other[None]), System("clean", clean[None])]
        scores, [difference] = compare(systems, gold, self.record["metric"], [("perturbed", "clean")], RESAMPLES)
        return scores[1].value, scores[0].value, difference


def _said(clean: float, other: float, difference: Difference) -> dict[str, Any]:
    return {"clean": clean, "perturbed": other, "low": difference.low, "high": difference.high,
            "p_holm": difference.p_holm, "verdict": difference.verdict}


def _distinct(rows: pa.Table) -> pa.Table:
    _, first = np.unique(np.array(rows["id"].to_pylist()), return_index=True)
    return rows.take(pa.array(np.sort(first)))


def _answered(rows: pa.Table, logits: np.ndarray, record: dict[str, Any]) -> pa.Table:
    """Perturbed rows [n] and logits [n, C] in the run's order of classes -> rows of schema PERTURBED."""
    values = pa.array(logits.ravel(), pa.float32())
    offsets = pa.array(np.arange(len(rows) + 1) * logits.shape[1], pa.int32())
    score, nothing = logits[:, 0].astype(np.float64), pa.nulls(len(rows))
    columns = {"prediction": nothing, "score": score, "confidence": nothing,
               "logits": pa.ListArray.from_arrays(offsets, values)}
    if record["kind"] == "classification":
        score = logits.argmax(axis=1) if len(rows) else np.empty(0, int)
        columns |= {"prediction": pa.array(record["labels"]).take(pa.array(score)), "score": score.astype(np.float64),
                    "confidence": confidence(logits)}
    found = {**{name: rows[name] for name in rows.column_names}, **columns}
    return pa.table({field.name: found[field.name] for field in PERTURBED}, schema=PERTURBED)
