"""Task files: TOML -> a checked description of where a task's rows lie and how they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from kdpipe import catalog
from kdpipe.errors import UserError, did_you_mean
from kdpipe.resources import is_file, is_folder, toml
from kdpipe.tasks import Reader, metrics
from kdpipe.tasks._keys import Faults, Policy, arguments, valid_keys
from kdpipe.types import Kind

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Source:
    """What is known of a task before its rows are read."""

    where: str  # how messages name it
    name: str
    kind: Kind
    reader: Reader
    files: Mapping[str, Path]  # by split; "all" alone for a file that is yet to be split
    labels: tuple[str, ...] | None = None  # as they stand in the files, by index; None: those of train
    names: Mapping[str, str] = field(default_factory=dict)  # label as in the files -> readable name
    metrics: tuple[str, ...] = ()
    unknown_labels: Policy = "refuse"
    bad_rows: Policy = "refuse"
    near: float | None = None  # training rows from this similarity to dev or test rows on are left out


def read(path: Path) -> Source:
    """A checked task file. Raises UserError with all of its faults."""
    raw, faults = _toml(path), Faults(path)
    part = _part(raw, faults)
    said = valid_keys(raw, part, faults)
    _check_labels(said, faults)
    chosen = _metrics(said, faults)
    files = _files(path.parent, said, faults)
    reader = _reader(part, said, faults)
    if faults:
        raise UserError(faults)
    same = {key: said[key] for key in ("name", "kind", "names", "unknown_labels", "bad_rows", "near")}
    labels = tuple(said["labels"]) if said["labels"] else None
    return Source(where=str(path), reader=reader, files=files, labels=labels, metrics=chosen, **same)


def _toml(path: Path) -> dict[str, Any]:
    try:
        raw = toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start} is not UTF-8; save the task file as UTF-8") from None
    except ValueError as e:
        raise UserError(f"{path}: not TOML: {e}") from None
    if isinstance(raw.get("labels"), list):  # labels = [0, 1] means the labels "0" and "1"
        raw["labels"] = [str(label) if type(label) is int else label for label in raw["labels"]]
    return raw


def _part(raw: Mapping[str, Any], faults: Faults) -> type[Reader] | None:
    name = raw.get("format")
    if not isinstance(name, str):
        return None  # the validation of the keys says so
    if name not in catalog.names("tasks"):
        faults.at("format", f"no format '{name}'{did_you_mean(name, catalog.names('tasks'))}")
        return None
    return catalog.find("tasks", name)


def _check_labels(said: Mapping[str, Any], faults: Faults) -> None:
    labels, names = said.get("labels"), said.get("names", {})
    if said.get("kind") == "regression":
        faults += [
            f"{faults.path} -> {key}: a regression has no labels; take it away"
            for key in ("labels", "names")
            if said.get(key)
        ]
        return
    if labels is not None and len(labels) < 2:
        faults.at("labels", f"found {labels}; a classification has at least 2")
    twice = sorted({label for label in labels or () if labels.count(label) > 1})
    if twice:
        faults.at("labels", f"listed twice: {', '.join(twice)}")
    if labels is not None:
        faults.at("names", *(f"no label '{key}'{did_you_mean(key, labels)}" for key in names if key not in labels))


def _metrics(said: Mapping[str, Any], faults: Faults) -> tuple[str, ...]:
    kind, chosen = said.get("kind"), said.get("metrics")
    if kind is None:
        return ()
    if chosen is None:
        return metrics.DEFAULTS[kind]
    faults.at("metrics", *metrics.check(chosen, kind, len(said["labels"]) if said.get("labels") else None))
    return tuple(chosen)


def _files(here: Path, said: Mapping[str, Any], faults: Faults) -> dict[str, Path]:
    """Where the splits lie; a path is relative to `folder`, which is relative to the task file."""
    folder = _expanded("folder", said.get("folder", "."), faults)
    if folder is None:
        return {}
    if not is_folder(here / folder):
        faults.at("folder", f"no folder {here / folder}")
        return {}
    files = {}
    for split in SPLITS:
        path = _expanded(split, said.get(split), faults)
        if path is not None:
            files[split] = here / folder / path
            if not is_file(files[split]):
                faults.at(split, f"no file {files[split]}")
    return files


def _expanded(key: str, path: str | None, faults: Faults) -> Path | None:
    """A path with its environment variables and ~ filled in."""
    if path is None:
        return None
    try:
        return Path(Template(path).substitute(os.environ)).expanduser()
    except KeyError as e:
        faults.at(
            key,
            f"the environment variable {e.args[0]} is not set; set it, for example "
            f"export {e.args[0]}=/path/to/datasets",
        )
    except ValueError:
        faults.at(key, f"found '{path}'; write a variable as $NAME or ${{NAME}} and a plain dollar sign as $$")
    return None


def _reader(part: type[Reader] | None, said: Mapping[str, Any], faults: Faults) -> Reader | None:
    if part is None or not set(arguments(part)) <= set(said):
        return None
    try:
        return part(**{name: said[name] for name in arguments(part)})
    except UserError as e:
        faults += [f"{faults.path} -> {fault}" for fault in e.faults]
        return None
