"""Probes of models on tasks: their records in the store. What is recorded already is not done again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from kdpipe import runs
from kdpipe.errors import UserError, memory_said_plainly
from kdpipe.probing.names import Named, find, load
from kdpipe.probing.states import Weights, trained, untrained
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.types import ROWS, Task, content_key

VERSION = "1"  # part of every key: a change of the protocol probes anew
_LAYERS_AT_ONCE = 2**29  # bytes of states that are learned from side by side


@dataclass(frozen=True)
class Protocol:
    """grid: a name of kdpipe.probing.classifier.GRIDS. cls: [CLS] states of transformers, too."""

    grid: str = "quick"
    cls: bool = False
    key: str = field(init=False)

    def __post_init__(self) -> None:
        from kdpipe.probing.classifier import GRIDS

        if self.grid not in GRIDS:
            raise UserError(f"--grid {self.grid}: allowed are {', '.join(GRIDS)}")
        object.__setattr__(self, "key", content_key("probe", VERSION, self.grid, self.cls, size=4))


@dataclass(frozen=True)
class Parts:
    """The rows of a task as probes use them. scored: the splits that nothing is chosen on."""

    learn: pa.Table
    choose: pa.Table
    scored: dict[str, pa.Table]
    chosen_on: str


@dataclass(frozen=True)
class Probed:
    """What the warehouse has the probed models and tasks under."""

    names: list[str]
    weights: list[str]
    task_keys: list[str]


@memory_said_plainly("probe")
def probe(store: Store, names: Iterable[str], tasks: Sequence[str] = (), protocol: Protocol | None = None,
          device: str = "cpu") -> Probed:
    """Probe models, and for each its untrained twin, on tasks.

    names: as kdpipe.probing.names.find takes them. tasks: none: all shipped probing tasks.
    Raises UserError with every fault of names and tasks, before anything is computed.
    """
    protocol = protocol or Protocol()
    asked, found = _tasks(tasks), find(store, names)
    weights = [_probe(store, named, asked, protocol, device) for named in found]
    return Probed([named.name for named in found], weights, [task.key() for task in asked])


def _tasks(names: Sequence[str]) -> list[Task]:
    from kdpipe.tasks.load import available, load

    found, faults = [], []
    for name in names or [name for name in available() if name.startswith("probing-")]:
        try:
            task = load(name)
            _check(task)
            found.append(task)
        except UserError as e:
            faults += e.faults
    if faults:
        raise UserError(dict.fromkeys(faults))
    return found


def _check(task: Task) -> None:
    if task.kind != "classification":
        raise UserError(f"task '{task.name}': has scores; a probe names classes, so take a classification")
    if task.pair:
        raise UserError(f"task '{task.name}': has pairs; a probe reads the state of one text")


def _probe(store: Store, named: Named, tasks: Sequence[Task], protocol: Protocol, device: str) -> str:
    """The fingerprint of the weights."""
    loaded = load(named.folder)
    both = [make(loaded, protocol.cls, device) for make in (trained, untrained)]
    about = {"name": named.name, "run": named.run, "weights": both[0].fingerprint, "untrained": both[1].fingerprint,
             "model": loaded.card.model["name"], "width": max(both[0].layers.values())}
    place = store.probed(re.sub(r"[^A-Za-z0-9._-]+", "-", named.name).strip("-.")[-150:], both[0].fingerprint)
    if not store.exists(place):
        store.write_json(place, about | {"started": datetime.now(UTC).isoformat(timespec="seconds")})
    with bar(f"probe {named.name}", len(tasks), "task") as advance:
        for task in tasks:
            lacking = [w for w in both if not store.exists(store.probe(w.fingerprint, task.key(), protocol.key))]
            if lacking:
                _probe_task(store, lacking, task, protocol)
            advance(1)
    return both[0].fingerprint


def _probe_task(store: Store, both: Sequence[Weights], task: Task, protocol: Protocol) -> None:
    """Probes of one or two networks of the same shape, side by side."""
    start, parts = time.perf_counter(), parts_of(task)
    rows = pa.concat_tables([parts.learn, parts.choose, *parts.scored.values()])
    asked = [weights.fill(store, rows, f"states for {task.name}") for weights in both]
    stated = time.perf_counter()
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for some in _side_by_side(both, len(rows)):
        states = np.stack([both[i].read(store, layer, rows["id"].combine_chunks()) for i, layer in some])
        found |= zip(some, _fit(states, parts, task, protocol), strict=True)
    seconds = time.perf_counter() - stated
    for i, weights in enumerate(both):
        layers = [{"layer": layer, "place": place, "width": weights.layers[layer], **found[i, layer]}
                  for place, layer in enumerate(weights.layers)]
        record = {
            "weights": weights.fingerprint, "task": task.name, "task_key": task.key(), "protocol": protocol.key,
            "grid": protocol.grid, "classes": len(task.labels), "chosen_on": parts.chosen_on,
            "rows_learned": len(parts.learn), "rows_chosen_on": len(parts.choose),
            "splits": [{"split": split, "rows": len(its), "majority": _majority(its, parts.learn)}
                       for split, its in parts.scored.items()],
            "layers": layers, "texts_asked": asked[i], "state_seconds": round((stated - start) / len(both), 3),
            "seconds": round(seconds / len(both), 3), "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": runs.versions(), "git": runs.git_state(), "machine": runs.machine(),
        }
        store.write_json(store.probe(weights.fingerprint, task.key(), protocol.key), record)


def _side_by_side(both: Sequence[Weights], rows: int) -> list[list[tuple[int, str]]]:
    """(which network, layer) in groups of one width, as many as memory has room for."""
    groups: list[list[tuple[int, str]]] = []
    layers = sorted(((width, i, layer) for i, w in enumerate(both) for layer, width in w.layers.items()),
                    key=lambda each: each[0])
    last, room = None, 0
    for width, i, layer in layers:
        if width != last or room <= 0:
            last, room = width, _LAYERS_AT_ONCE // (2 * rows * width)
            groups.append([])
        groups[-1].append((i, layer))
        room -= 1
    return groups


def _fit(states: np.ndarray, parts: Parts, task: Task, protocol: Protocol) -> list[dict[str, Any]]:
    """The best probe of each layer [G, n, d], and what it has right of each split."""
    from kdpipe.probing.classifier import GRIDS, fit

    ends = np.cumsum([len(t) for t in (parts.learn, parts.choose, *parts.scored.values())])
    learn, choose, *scored = np.split(states, ends[:-1], axis=1)
    grid = GRIDS["linear" if _is_word_content(task) else protocol.grid]
    found = []
    for g, best in enumerate(fit(learn, _gold(parts.learn), choose, _gold(parts.choose), len(task.labels), grid)):
        accuracy = [{"split": split, "accuracy": float((best(its[g]) == _gold(rows)).mean())}
                    for (split, rows), its in zip(parts.scored.items(), scored, strict=True)]
        found.append({"hidden": best.setting.hidden, "dropout": best.setting.dropout, "l2": best.setting.l2,
                      "epochs": best.epochs, "chosen_accuracy": best.accuracy, "scores": accuracy})
    return found


def _is_word_content(task: Task) -> bool:
    """The task whose protocol is logistic regression: hundreds of classes are more than a hidden layer of 50 holds."""
    return re.sub(r"[^a-z]", "", task.name.lower()).endswith("wordcontent")


def parts_of(task: Task) -> Parts:
    """A probe is chosen on dev and scored on test too; where there is no test, a tenth of train by the hash of the text
    is set apart to choose on, so that dev was seen by no choice."""
    splits = {name: rows.filter(rows["label"].is_valid()) for name, rows in task.splits.items()}
    if len(splits.get("test", ())):
        return Parts(splits["train"], splits["dev"], {"dev": splits["dev"], "test": splits["test"]}, "dev")
    ids = np.frombuffer(b"".join(splits["train"]["id"].to_pylist()), np.uint8).reshape(-1, 16)
    apart = ids.view(">u8")[:, 1] % 10 == 0
    if apart.all() or not apart.any():
        raise UserError(f"task '{task.name}': {len(apart)} training rows, too few to set a tenth apart; bring more, or "
                        "a test part")
    learn, choose = (splits["train"].filter(pa.array(some)) for some in (~apart, apart))
    return Parts(learn.cast(ROWS), choose.cast(ROWS), {"dev": splits["dev"]}, "train")


def _gold(rows: pa.Table) -> np.ndarray:
    return rows["label"].to_numpy().astype(np.int64)


def _majority(rows: pa.Table, learned: pa.Table) -> float:
    """Accuracy of always naming the class that most rows learned from have."""
    return float((_gold(rows) == np.bincount(_gold(learned)).argmax()).mean())
