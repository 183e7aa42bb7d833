"""Teachers that the cache knows by fingerprint: what is recorded of them, and where their model is.

Nothing is written down for this alone. A part's metadata says of which model folder, task and classes it was asked;
run records say the same, and which transfer sets; so does the cost record that a finished teach stage leaves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.errors import UserError
from kdpipe.store import Store

if TYPE_CHECKING:
    from kdpipe.types import SignalSource

DROPPED = "_dropped.json"  # in a teacher's folder of signals: when its rows were dropped


@dataclass(frozen=True)
class Records:
    """The run records of a store, read once. A broken one is passed over: `kdpipe sql --check` names it."""

    store: Store

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in self.store.listing(self.store.run("_").rsplit("/", 1)[0]):
            if path.endswith(".json"):
                try:
                    record = self.store.read_json(path)
                    found[record["run"]] = record
                except (UserError, KeyError, TypeError, FileNotFoundError):
                    continue
        return found

    def taught_by(self, fingerprint: str) -> list[dict[str, Any]]:
        """Records of the runs whose students learned from a teacher, the earliest first."""
        found = [r for r in self.runs.values() if r.get("teacher") == fingerprint]
        return sorted(found, key=lambda r: r.get("started", ""))


def chosen(store: Store, said: str | None, aside: bool = False) -> list[tuple[str, str]]:
    """(fingerprint, signal) of the teachers whose fingerprint begins as said, or of all.

    aside: also of those of which nothing but parts in the quarantine is left.

    Raises UserError where none does, or where there is no store.
    """
    if not store.exists(store.path):
        raise UserError(f"{store.root}: no such store; `kdpipe run RECIPE` makes one, --store names another")
    there = sorted({*store.taught(), *(store.taught("quarantine/signals") if aside else ())})
    found = beginning(said, there)
    if said is not None and not found:
        known = ", ".join(sorted({fingerprint for fingerprint, _ in there})) or "no teacher at all"
        raise UserError(f"--teacher {said}: no fingerprint in {store.root} begins so; there is {known}")
    return found


def beginning(said: str | None, keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The keys whose fingerprint, the first of each, begins as said; all where nothing is said.

    Raises UserError where an empty name is said: a shell's variable that is not set must not mean every teacher.
    """
    if said == "":
        raise UserError("--teacher '': say how the fingerprint begins (`kdpipe cache ls` lists them), or leave it out")
    return [key for key in keys if key[0].startswith(said or "")]


def asked_of(metadata: Mapping[bytes, bytes] | None) -> list[dict[str, Any]]:
    """What a part says of its origin, once for each task.

    A part may come from a stranger: what is not of the kind that it should be is left out.
    """
    try:
        found = json.loads((metadata or {})[b"asked"])
        return [{k: v for k, v in each.items() if k in _KINDS and _KINDS[k](v)} for each in found]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _text(value: object) -> bool:
    return value is None or isinstance(value, str) and value.isprintable()


def _texts(value: object) -> bool:
    return value is None or isinstance(value, list) and all(isinstance(each, str) for each in value)


_KINDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("task", "folder", "checkpoint", "compute"), _text),
    **dict.fromkeys(("labels", "label_names"), _texts),
    "kind": lambda value: value in ("classification", "regression"),
    "max_length": lambda value: isinstance(value, int),
}


@dataclass(frozen=True)
class Teacher:
    """What the store knows of a teacher, from its parts' metadata (`asked`) and from run records."""

    store: Store
    fingerprint: str
    asked: tuple[dict[str, Any], ...]
    records: Records = field(repr=False)

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks that it was asked for."""
        runs = self.records.taught_by(self.fingerprint)
        return sorted({a["task"] for a in self.asked if a.get("task")} | {r["task"] for r in runs if r.get("task")})

    @cached_property
    def folders(self) -> list[str]:
        """Names of the model folders that it may be."""
        return sorted({str(a.get("checkpoint") or a.get("folder")) for a in self._asked()} - {"None"})

    def sets(self) -> list[str]:
        """Keys of the transfer sets that it was asked for in full, since its rows were last dropped."""
        dropped = self._dropped()
        found = {
            r["transfer"]
            for r in self.records.taught_by(self.fingerprint)
            if r.get("transfer") and _when(r.get("started")) >= dropped
        }
        costs, start = self.store.cost("_", "_").rsplit("/", 1)[0], f"teach-{self.fingerprint}-"
        for path in self.store.listing(costs):
            name = path.rstrip("/").rsplit("/", 1)[-1]
            works = self.store.listing(path) if name.startswith(start) else []
            if any(_written(self.store, work) >= dropped for work in works if work.endswith(".json")):
                found.add(name.removeprefix(start))
        return sorted(found)

    def _dropped(self) -> datetime:
        path = f"{self.store.signals(self.fingerprint, '').rsplit('/', 1)[0]}/{DROPPED}"
        return _when(self.store.read_json(path)["dropped"]) if self.store.exists(path) else _when(None)

    def _asked(self) -> Iterator[dict[str, Any]]:
        """All that is said of the model to ask: by parts, then by run records."""
        yield from (dict(each) for each in self.asked)
        for record in self.records.taught_by(self.fingerprint):
            phases = {p["name"]: p for p in record.get("settings", {}).get("phases", [])}
            learned = phases.get(record.get("phase"), {})
            for _ in phases:  # a last phase on labels goes on with one that asked
                learned = learned if learned.get("teacher") else phases.get(learned.get("start"), {})
            phase = phases.get(learned.get("teacher"), {})
            own = self.records.runs.get(record.get("teacher_run"), {})
            yield {
                "task": record.get("task"),
                "kind": record.get("kind"),
                "labels": record.get("labels"),
                "folder": own.get("model"),
                "checkpoint": phase.get("checkpoint"),
                "label_names": phase.get("label_names"),
                "max_length": phase.get("max_length"),
            }

    def open(self, device: str = "auto") -> Opened:
        """The teacher itself, proved by its fingerprint. Raises UserError saying why it cannot be asked."""
        from kdpipe import modelfolder
        from kdpipe.signals.live import Live, pick_device

        asked, compute, folder = self._found()
        labels = tuple(asked["labels"])
        on = _device(self.fingerprint, compute, pick_device(device), device)
        names = asked["label_names"] and tuple(asked["label_names"])
        loaded = modelfolder.load(folder, labels, asked["kind"], names, asked["max_length"])
        width = len(labels) if asked["kind"] == "classification" else 1
        known = self.asked or ({**asked, "compute": compute},)
        return Opened(Live(loaded, self.fingerprint, on, compute), width, compute, known)

    def _found(self) -> tuple[dict[str, Any], str, Path]:
        """What the model is asked with, its compute type and its folder."""
        from kdpipe import modelfolder

        tried, named = {}, [asked for asked in self._asked() if asked.get("checkpoint") or asked.get("folder")]
        for asked in named or self._any_model():
            name = asked.get("checkpoint") or asked.get("folder")
            try:
                folder = self._folder(asked)
                if folder is None:
                    tried.setdefault(name, f"its model {name} is gone")
                    continue
                full = _completed(asked, folder)
                names = full["label_names"] and tuple(full["label_names"])
                for compute in ("fp32", "bf16", "fp16", "int8"):
                    said = (tuple(full["labels"]), full["max_length"], compute, names)
                    if modelfolder.fingerprint(folder, *said) == self.fingerprint:
                        return full, compute, folder
                tried[name] = f"{folder} is another model now, or is asked in another way"
            except UserError as e:
                tried[name] = str(e)
        if named:
            raise UserError("; ".join(tried.values()))
        raise UserError("no part and no run record says which model this teacher was, and no model in this store is it")

    def _any_model(self) -> Iterator[dict[str, Any]]:
        """Where nothing is recorded: each model of the store; the fingerprint proves the one."""
        for path in self.store.listing(self.store.model("_").rsplit("/", 1)[0]):
            yield {"folder": path.rstrip("/").rsplit("/", 1)[-1]}

    def _folder(self, asked: dict[str, Any]) -> Path | None:
        """Where the model lies; None where it does not."""
        from kdpipe import modelfolder

        if asked.get("checkpoint"):
            folder = _here(asked["checkpoint"])
        elif re.fullmatch(r"[0-9a-f]{8,64}", asked.get("folder") or "") and self.store.has_model(asked["folder"]):
            folder = self.store.local_model(asked["folder"])
        else:
            folder = None
        if folder is None:
            return None
        modelfolder.check_weights(folder)
        return folder

    def again(self) -> str:
        """The command that asks this teacher again, as far as records say it."""
        runs = [r for r in self.records.taught_by(self.fingerprint) if r.get("role") == "student"]
        if not runs:
            return "run the recipe that taught with it again"
        return f"kdpipe run {runs[-1].get('recipe')} --task {runs[-1].get('task')} --store {self.store.root}"


@dataclass(frozen=True)
class Opened:
    """A teacher that can be asked: its source, values of a row, compute type, and what its parts say of it."""

    source: SignalSource
    width: int
    compute: str
    asked: tuple[dict[str, Any], ...]


def _here(checkpoint: str) -> Path | None:
    """A brought checkpoint on this machine. Never fetched: who wrote the part may be a stranger."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    from kdpipe import modelfolder

    try:
        if Path(checkpoint).is_dir() or checkpoint in modelfolder.OFFLINE:
            return modelfolder.find(checkpoint)
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
        return None


def _completed(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """With what the model's own card says where the record is silent."""
    from kdpipe import modelfolder

    full = {"kind": None, "labels": None, "label_names": None, "max_length": None, **asked}
    if (folder / modelfolder.CARD).is_file():
        card = modelfolder.read_card(folder)
        full["max_length"] = card.max_length
        full["kind"], full["labels"] = full["kind"] or card.kind, full["labels"] or card.labels
    if full["kind"] is None or full["max_length"] is None:
        raise UserError(f"nothing in the store says with which classes and length {folder} was asked")
    full["labels"] = full["labels"] or ()
    return full


def _device(fingerprint: str, compute: str, there: str, said: str) -> str:
    """Where a teacher computes in the type that it was asked in."""
    from kdpipe.signals.live import compute_type

    if compute in ("fp32", "int8"):
        if said != "auto":
            compute_type(there, compute)
        return "cpu" if said == "auto" else there
    if compute_type(there) != compute:
        raise UserError(f"teacher {fingerprint} was asked in {compute}, {there} computes in {compute_type(there)}; "
                        "do this on a GPU of that kind")
    return there


def _when(said: str | None) -> datetime:
    try:
        return datetime.fromisoformat(said).astimezone(UTC) if said else datetime.fromtimestamp(0, UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _written(store: Store, path: str) -> datetime:
    """When a file was written, as its file system says; now where it does not say."""
    try:
        said = store.fs.modified(path)
    except (FileNotFoundError, NotImplementedError):
        return datetime.now(UTC)
    return said.astimezone(UTC)


def last_used(store: Store, fingerprint: str, parts: Iterable[str], records: Records) -> datetime | None:
    """The latest that files can prove: a part written, or a student recorded that learned from the teacher."""
    times = [_written(store, path) for path in parts]
    times += [_when(r.get("started")) for r in records.taught_by(fingerprint)]
    return max(times, default=None)
