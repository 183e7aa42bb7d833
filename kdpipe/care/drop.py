"""Taking teachers' rows out of the cache: by teacher, by task, unused since a day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kdpipe.care.holdings import Holding, holdings
from kdpipe.care.teachers import DROPPED
from kdpipe.errors import UserError, did_you_mean
from kdpipe.store import Store


@dataclass(frozen=True)
class Dropping:
    """What goes, and what was left although it matched in part."""

    goes: tuple[Holding, ...]
    stays: tuple[str, ...]  # why


def choose(store: Store, teacher: str | None, task: str | None, unused_since: str | None) -> Dropping:
    """The holdings that match all that is said.

    Raises UserError where nothing is said, or a name fits none, or a fingerprint's beginning fits several.
    """
    if teacher is None and task is None and unused_since is None:
        raise UserError("say what to drop: --teacher FINGERPRINT, --task NAME or --unused-since 2026-01-31 (or 90d)")
    before = moment(unused_since) if unused_since is not None else None
    there = holdings(store, teacher)
    alike = sorted({holding.teacher.fingerprint for holding in there})
    if teacher is not None and len(alike) > 1:
        raise UserError(f"--teacher {teacher}: {len(alike)} begin so ({', '.join(alike)}); say more of the one meant")
    known = {name for holding in there for name in holding.teacher.tasks}
    if task is not None and task not in known:
        raise UserError(f"--task {task}: no teacher here was asked for it{did_you_mean(task, known)}")
    goes, stays = [], []
    for holding in there:
        if task is not None and task not in holding.teacher.tasks:
            continue
        if before is not None and (holding.last_used is None or holding.last_used >= before):
            continue
        others = [name for name in holding.teacher.tasks if name != task]
        if task is not None and teacher is None and others:
            stays.append(
                f"teacher {holding.teacher.fingerprint} was asked for {', '.join(others)} too and stays; "
                "name it by --teacher to drop it"
            )
        else:
            goes.append(holding)
    return Dropping(tuple(goes), tuple(stays))


def moment(said: str) -> datetime:
    """ "2026-01-31", "2026-01-31T12:00" or "90d" (days ago) -> a time. Raises UserError for anything else."""
    if days := re.fullmatch(r"(\d{1,5})d", said):
        return datetime.now(UTC) - timedelta(days=int(days[1]))
    try:
        return datetime.fromisoformat(said).astimezone(UTC)
    except ValueError:
        raise UserError(f"--unused-since {said}: a day like 2026-01-31, or days like 90d") from None


def drop(store: Store, goes: tuple[Holding, ...]) -> None:
    """Take the parts away, those in the quarantine too, and note when, so that no repair asks for them again."""
    for holding in goes:
        fingerprint, signal = holding.teacher.fingerprint, holding.signal
        folder = store.signals(fingerprint, signal)
        note = {"dropped": datetime.now(UTC).isoformat(), "rows": holding.distinct}
        store.write_json(f"{folder.rsplit('/', 1)[0]}/{DROPPED}", note)
        store.remove_parts(store.parts(folder))
        store.remove_parts(store.quarantined(fingerprint, signal))
