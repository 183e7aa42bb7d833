"""The run record: everything that must be known of a run, as one JSON object that SQL reads."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = (
    "kdpipe",
    "torch",
    "transformers",
    "tokenizers",
    "pyarrow",
    "duckdb",
    "spacy",
    "nltk",
    "numpy",
    "scikit-learn",
    "scipy",
    "prefect",
)


@dataclass
class Record:
    """One execution of a recipe with one seed: the unit that the warehouse compares.

    Scores by split and metric; seconds of each stage (`reused`: its output was there already).
    """

    run: str
    task: str
    task_key: str
    kind: str
    labels: list[str]
    recipe: str
    phase: str
    role: str  # "teacher" or "student"
    student: str  # the model in words
    seed: int
    metric: str
    model: str  # key of the model folder
    dev_score: float
    test_score: float | None
    scores: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    teacher_run: str | None
    teacher: str | None  # fingerprint
    transfer: str | None  # key of the transfer set
    teacher_rows_asked: int
    operators: list[str]
    transfer_counts: list[dict[str, Any]]
    parameters: dict[str, int]
    curve: list[dict[str, Any]]
    best_epoch: int
    speed: list[dict[str, Any]]
    settings: dict[str, Any]
    temperature: float | None = None  # fitted on dev (kdpipe.calibration); None for a score
    device: str = "cpu"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=lambda: versions())
    git: dict[str, Any] = field(default_factory=lambda: git_state())
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_state() -> dict[str, Any]:
    """Commit and whether the tree differs from it, of the checkout that this code runs from; null outside one."""
    here = Path(__file__).resolve().parent
    commit = _git(here, "rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git(here, "status", "--porcelain")) if commit else None}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
