"""From what a user calls a model to its folder: a run, a recipe, a run's teacher, a model's folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdpipe import answerer, modelfolder, warehouse
from kdpipe.errors import UserError, did_you_mean
from kdpipe.modelfolder import Loaded
from kdpipe.resources import is_folder
from kdpipe.store import Store

_RUNS = """
select run, recipe, teacher_run, is_latest
from stg_runs
order by task, recipe, student, seed, run
"""


@dataclass(frozen=True)
class Named:
    """A model to be probed. run: None for one that no run of the store made."""

    name: str
    run: str | None
    folder: Path


def find(store: Store, names: Iterable[str]) -> list[Named]:
    """The models of names: run ids, recipes and teachers' phases (every latest run), any of these with ":teacher", or
    model folders and Hugging Face names. Raises UserError with every name that there is none of."""
    rows = warehouse.query(store, _RUNS).to_pylist() if store.exists(store.path) else []
    found, faults = {}, []
    for name in names:
        try:
            found |= {each.name: each for each in _find(store, name, rows)}
        except UserError as e:
            faults += e.faults
    if faults:
        raise UserError(faults)
    return list(found.values())


def _find(store: Store, name: str, rows: list[dict]) -> list[Named]:
    asked, _, what = name.rpartition(":") if name.endswith(":teacher") else (name, "", "")
    runs = [r for r in rows if r["run"] == asked or (r["recipe"] == asked and r["is_latest"])]
    if runs and what:
        teachers = {r["teacher_run"] for r in runs} - {None}
        if not teachers:
            raise UserError(f"{asked}: learned from no teacher whose answers are kept; name the teacher itself")
        runs = [r for r in rows if r["run"] in teachers]
    if runs:
        return [_of_run(store, r["run"]) for r in runs]
    if is_folder(asked) or asked in modelfolder.OFFLINE or "/" in asked:
        if what:
            raise UserError(f"{name}: only runs and recipes have teachers; name the teacher itself")
        folder = modelfolder.find(asked)
        return [Named(name, None, folder)]
    known = {r["run"] for r in rows} | {r["recipe"] for r in rows}
    raise UserError(f"{store.root}: no run or recipe '{asked}'{did_you_mean(asked, known)}; a model's folder will do "
                    "as well")


def _of_run(store: Store, run: str) -> Named:
    return Named(run, run, answerer.folder_of(store, store.read_json(store.run(run))))


def load(folder: Path) -> Loaded:
    """A model of which states alone are asked: with a classifier or without one. Raises UserError."""
    if (folder / modelfolder.CARD).is_file():
        return modelfolder.load(folder)
    modelfolder.check_weights(folder)
    return modelfolder.load(folder, modelfolder.hf_labels(folder) if modelfolder.has_head(folder) else ())
