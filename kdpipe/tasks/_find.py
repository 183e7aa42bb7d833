"""Where a task lies: shipped, in a task file, in a folder, or in one data file."""

from __future__ import annotations

import re
from pathlib import Path

from kdpipe import catalog
from kdpipe.errors import UserError, did_you_mean
from kdpipe.resources import folder, is_file, is_folder
from kdpipe.tasks import _taskfile, metrics
from kdpipe.tasks._taskfile import Source
from kdpipe.tasks._text import line_blocks

_DATA_FILE = re.compile(r"(?P<stem>.+)\.(?P<format>csv|tsv|jsonl|parquet)(\.gz)?", re.IGNORECASE)


def available() -> dict[str, Path]:
    """Shipped tasks: name -> task file."""
    data = folder("data")
    return {
        **{path.stem: path for path in sorted(data.glob("tasks/*.toml"))},
        **{path.parent.name: path for path in sorted(data.glob("*/task.toml"))},
    }


def find(ref: str | Path) -> Source:
    """Where the rows of a task lie and how they are read; no row is read yet.

    Raises UserError where there is no such task, with the nearest name, or with the faults of its task file.
    """
    path, shipped = Path(ref).expanduser(), available()
    if is_file(path / "task.toml"):
        return _taskfile.read(path / "task.toml")
    if str(ref) in shipped:
        return _taskfile.read(shipped[str(ref)])
    if is_file(path):
        return _file(path)
    if is_folder(path):
        raise UserError(f"{path}: no task.toml in this folder")
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"{path}: no such file")
    raise UserError(
        f"no task '{ref}'{did_you_mean(str(ref), shipped)}; a task file, a folder with task.toml "
        "or a data file (.csv, .tsv, .jsonl, .parquet) will do as well"
    )


def _file(path: Path) -> Source:
    if path.suffix == ".toml":
        return _taskfile.read(path)
    if _is_senteval(path):
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.split(".")[0]).strip("-._") or "task"
        files = dict.fromkeys(_taskfile.SPLITS, path)
        return Source(str(path), name, "classification", catalog.find("tasks", "senteval")(), files,
                      metrics=metrics.DEFAULTS["classification"])
    data = _DATA_FILE.fullmatch(path.name)
    if data is None:
        raise UserError(f"{path}: neither a task file (.toml) nor a data file (.csv, .tsv, .jsonl, .parquet, also .gz)")
    reader = catalog.find("tasks", data["format"].lower())()
    kind = "regression" if reader.wanted(path).label == "score" else "classification"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", data["stem"]).strip("-._") or "task"
    return Source(str(path), name, kind, reader, {"all": path}, metrics=metrics.DEFAULTS[kind])


def _is_senteval(path: Path) -> bool:
    """Whether a .txt is one of SentEval's probing files: its first line begins with a part's name and a tab."""
    if not path.name.removesuffix(".gz").endswith(".txt"):
        return False
    first = next(line_blocks(path), None)
    return first is not None and len(first) > 0 and first[0].as_py().startswith(("tr\t", "va\t", "te\t"))
