"""Recipes and runs of a store held against each other: their scores, and how sure their differences are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa

from kdpipe import warehouse
from kdpipe.errors import UserError, did_you_mean
from kdpipe.significance import RESAMPLES, Difference, Pairs, Panel, Score, System, all_against
from kdpipe.store import Store
from kdpipe.tasks.metrics import check

RUNGS = {  # of the attribution ladder: recipe -> the rung that it is held against
    "labels_only": None,
    "teacher_labels": "labels_only",
    "soft_labels": "teacher_labels",
    "tang2019_mask": "soft_labels",
    "tang2019_pos_swap": "soft_labels",
    "tang2019_ngram": "soft_labels",
    "tang2019": "soft_labels",
}
ONE_SEED = "Of one seed, this is said of the trained models, not of their recipes: another seed may turn it round"
_SAID = 6  # names in a sentence
_WORDS = re.compile(r"[^\s,]+")
_RUNS = """
select run, task, task_key, recipe, phase, role, student, array_to_string(operators, '+') as operators, unlabelled_rows,
    seed, kind, labels, metric, is_latest
from stg_runs
where is_latest or list_contains($named, run)
order by task, role desc, recipe, phase, student, operators, unlabelled_rows, seed
"""
_ANSWERS = """
select run, id, target, score
from stg_predictions
where split = $split and list_contains($runs, run) and target is not null
order by run, id, target
"""


def contrast(store: Store | str, names: Sequence[str] = (), task: str | None = None, split: str = "dev",
             metric: str | None = None, against: str | None = None, resamples: int = RESAMPLES
             ) -> tuple[list[Score], list[Difference]]:
    """Scores of recipes and runs of one task, best first, and their differences (kdpipe.significance.compare).

    names: recipes, teachers' phases and run ids; none: every latest group of runs, as the leaderboard shows them.
    metric: None: the task's first. against: one of the names; None: every pair.
    Raises UserError for names that are not there, for runs of different tasks and rows, and for other metrics.
    """
    wanted = [*names, *([against] if against and names and against not in names else [])]
    groups, first = groups_of(store, wanted, task)
    if against is not None and against not in groups:
        raise UserError(f"--against: no '{against}'{did_you_mean(against, groups)}")
    pairs = "all" if against is None else all_against(groups, against)
    return of_runs(store, groups, split, _metric(metric or first["metric"], first), pairs, resamples)


def of_runs(store: Store | str, groups: Mapping[str, Sequence[str]], split: str, metric: str,
            pairs: Pairs = "all", resamples: int = RESAMPLES) -> tuple[list[Score], list[Difference]]:
    """The same of run ids by name, one for each seed. pairs: as kdpipe.significance.compare takes them."""
    panel = panel_of(store, groups, split, metric, resamples)
    return sorted(panel.scores, key=lambda s: -s.value), panel.differences(pairs)


def panel_of(store: Store | str, groups: Mapping[str, Sequence[str]], split: str, metric: str,
             resamples: int = RESAMPLES) -> Panel:
    """Run ids by name, ready to be held against each other. Raises UserError where they answered different rows."""
    ids = [run for runs in groups.values() for run in runs]
    gold, answers = _by_run(warehouse.query(store, _ANSWERS, {"split": split, "runs": ids}), split)
    lacking = [run for run in ids if run not in answers]
    if lacking:
        raise UserError(f"no labelled predictions on {split} of {', '.join(lacking[:5])}; another --split?")
    systems = [System(name, np.stack([answers[run] for run in runs])) for name, runs in groups.items()]
    return Panel(systems, gold, metric, resamples)


def tables(scores: Sequence[Score], differences: Sequence[Difference]) -> tuple[pa.Table, pa.Table]:
    """One row for each system, and one for each difference."""
    return pa.Table.from_pylist([asdict(s) for s in scores]), pa.Table.from_pylist([asdict(d) for d in differences])


def in_words(scores: Sequence[Score], differences: Sequence[Difference]) -> str:
    """What may be said of the best one against all others, from differences against it."""
    best = scores[0].name
    by_other = {d.first: d.verdict for d in differences if d.second == best}
    alike = [s.name for s in scores if by_other.get(s.name) == "cannot tell apart"]
    told = sum(verdict == "worse" for verdict in by_other.values())
    if not by_other:
        return f"{best} alone is here: nothing to hold it against"
    said = f"{best} is ahead on these rows"
    shown = [*alike[:_SAID], *([f"{len(alike) - _SAID} more"] if len(alike) > _SAID else [])]
    said += f"; cannot be told apart from it: {', '.join(shown)}" if alike else ""
    said += f"; worse: {told} of {len(by_other)}" if told else ""
    return f"{said}. {ONE_SEED}" if any(s.seeds == 1 for s in scores) else said


def tasks_of(store: Store | str, wanted: Sequence[str] = ()) -> dict[str, list[str]]:
    """The tasks that have runs of these names, or all, each with those of the names that it has runs of.

    Raises UserError for names that are not there, and where there are no runs.
    """
    rows = warehouse.query(store, _RUNS, {"named": list(wanted)}).to_pylist()
    if not rows:
        raise UserError("the store has no runs; `kdpipe run RECIPE` makes one")
    known: dict[str, set[str]] = {}
    for row in rows:
        known.setdefault(row["task"], set()).update(_names(row, rows))
    everywhere = set().union(*known.values())
    if faults := [_not_there(name, everywhere) for name in wanted if name not in everywhere]:
        raise UserError(faults)
    return {task: [name for name in wanted if name in names] for task, names in known.items()
            if not wanted or names & set(wanted)}


def groups_of(store: Store | str, wanted: Sequence[str], task: str | None) -> tuple[dict[str, list[str]], dict]:
    """Run ids by name, and what is known of the first run."""
    rows = warehouse.query(store, _RUNS, {"named": list(wanted)}).to_pylist()
    tasks = sorted({row["task"] for row in rows})
    if task is not None and task not in tasks:
        raise UserError(f"no runs of task '{task}'{did_you_mean(task, tasks)}")
    rows = [row for row in rows if task in (None, row["task"])]
    groups: dict[str, list[dict]] = {}
    known = {row["run"]: _names(row, rows) for row in rows}
    for row in rows:
        for name in known[row["run"]][:None if wanted else 1]:
            if name in wanted or not wanted:
                groups.setdefault(name, []).append(row)
    known = {name for names in known.values() for name in names}
    if faults := [_not_there(name, known) for name in wanted if name not in groups]:
        raise UserError(faults)
    if not groups:
        raise UserError("the store has no runs; `kdpipe run RECIPE` makes one")
    if len(several := sorted({row["task"] for found in groups.values() for row in found})) > 1:
        raise UserError(f"runs of {len(several)} tasks: {', '.join(several)}; name one: --task {several[0]}")
    return {name: [row["run"] for row in found] for name, found in groups.items()}, next(iter(groups.values()))[0]


def _not_there(name: str, known: set[str]) -> str:
    kinds = sorted(other for other in known if other.startswith(f"{name} ("))
    if kinds:
        return f"of '{name}' there are several kinds; say which: {', '.join(map(repr, kinds))}"
    return f"no recipe or run '{name}'{did_you_mean(name, known)}"


def _names(row: dict, rows: Sequence[dict]) -> list[str]:
    """Its run id and, of a latest one, its recipe, with as much of its student and rows as tells it from others; last
    the same with all of these."""
    if not row["is_latest"]:
        return [row["run"]]

    def kind(r: dict) -> tuple:
        return r["role"], r["phase"], r["student"], r["operators"], r["unlabelled_rows"]

    alike = {kind(r) for r in rows if (r["recipe"], r["task"]) == (row["recipe"], row["task"]) and r["is_latest"]}
    if len(alike) == 1:
        return [row["recipe"], row["run"]]
    telling = [i for i in range(len(kind(row))) if len({k[i] for k in alike}) > 1]
    whole = [str(kind(row)[i]) or "none" for i in telling]
    short = [_telling(part, [str(k[i]) for k in alike]) for i, part in zip(telling, whole, strict=True)]
    return list(dict.fromkeys([f"{row['recipe']} ({'; '.join(short)})", row["run"],
                               f"{row['recipe']} ({'; '.join(whole)})"]))


def _telling(part: str, alike: Sequence[str]) -> str:
    """The first word of a part and those that not all have."""
    shared, words = set.intersection(*(set(_WORDS.findall(other)) for other in alike)), _WORDS.findall(part)
    return " ".join([*words[:1], *(word for word in words[1:] if word not in shared)])


def _metric(metric: str, run: Mapping) -> str:
    if faults := check([metric], run["kind"], len(run["labels"])):
        raise UserError([f"--metric, for task '{run['task']}': {fault}" for fault in faults])
    return metric


def _by_run(found: pa.Table, split: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gold [n] and each run's answers [n], row by row the same texts. Raises UserError where they are not."""
    if not len(found):
        return np.empty(0), {}
    runs, starts = np.unique(found["run"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    ids, gold = found["id"].combine_chunks(), found["target"].to_numpy()
    ends, score = [*starts[1:], len(found)], found["score"].to_numpy()
    first, answers = (ids.slice(0, ends[0]), gold[:ends[0]]), {}
    for run, start, end in zip(runs, starts, ends, strict=True):
        here = ids.slice(start, end - start), gold[start:end]
        if not here[0].equals(first[0]) or not np.array_equal(here[1], first[1]):
            raise UserError(f"{run} and {runs[0]} answered other rows of {split}: the task's data changed between "
                            "them; run the older one again")
        answers[str(run)] = score[start:end]
    return first[1], answers


def rung_below(name: str, there: Collection[str]) -> str | None:
    """The rung under one, or the next that is there: a score has no classes for a teacher to name."""
    below = RUNGS[name]
    return below if below is None or below in there else rung_below(below, there)
