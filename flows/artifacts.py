"""What a flow run shows in Prefect's web page: the progress of every bar, and a table at the end of each stage."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from kdpipe import progress, warehouse

SECONDS_BETWEEN_UPDATES = 1.0


@contextmanager
def bars_as_artifacts() -> Iterator[None]:
    """Inside a task: every progress bar is a progress artifact as well, told at most once a second."""
    artifacts: dict[str, UUID] = {}
    told = 0.0

    def show(bar: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if bar in artifacts and done < total and now < told + SECONDS_BETWEEN_UPDATES:
            return
        percent, told = 100.0 * done / max(total, 1), now
        with suppress(httpx.HTTPError):  # a server that is away for a moment is no reason to end the work
            if bar in artifacts:
                update_progress_artifact(artifacts[bar], percent)
            else:
                artifacts[bar] = create_progress_artifact(percent, key=_key(bar), description=bar)

    with progress.listening(show):
        yield


def show_stages(reports: Sequence[dict[str, Any]]) -> None:
    """One row for each stage that a flow went through: its seconds, its rows, and whether it was there already."""
    columns = ("stage", "seconds", "rows", "reused")
    rows = [{**{name: report[name] for name in columns}, **report["detail"]} for report in reports]
    create_table_artifact(rows, key="stages", description="What each stage did, and what was reused from the store")


def show_leaderboard(store: str, task: str) -> None:
    """What the warehouse says of all runs of a task so far."""
    rows = warehouse.query(store, "select * from leaderboard where task = $task", {"task": task}).to_pylist()
    create_table_artifact(rows, key="leaderboard", description="Mean, deviation and number of seeds of each recipe")


def _key(bar: str) -> str:
    """Artifact keys hold lower-case letters, digits and dashes alone."""
    return re.sub(r"[^a-z0-9]+", "-", bar.lower()).strip("-")
