"""Broken parts are set aside, and the rows that are then missing are asked again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from kdpipe.care.holdings import Walk
from kdpipe.care.teachers import Records, Teacher, chosen
from kdpipe.errors import UserError
from kdpipe.idset import IdSet
from kdpipe.signals.cache import Cache, made_by
from kdpipe.store import COMPLETE, Store


@dataclass(frozen=True)
class Repair:
    """What was done for one signal of one teacher."""

    teacher: Teacher
    signal: str
    aside: tuple[tuple[str, str], ...]  # (what was wrong, where the part lies now)
    asked: int  # rows that were asked again
    left: tuple[str, ...]  # what is still to be done, by whom

    @property
    def idle(self) -> bool:
        return not (self.aside or self.asked or self.left)


def repair(store: Store, teacher: str | None = None, device: str = "auto") -> list[Repair]:
    """Set the broken parts of the teachers chosen aside and ask for their rows again.

    A broken part cannot say which rows it held: they are the rows that are now missing from the transfer sets that
    this teacher was asked for in full. A repair that was stopped goes on where it was.
    """
    records = Records(store)
    return [_repair(store, *key, records, device) for key in chosen(store, teacher, aside=True)]


def _repair(store: Store, fingerprint: str, signal: str, records: Records, device: str) -> Repair:
    walk = Walk(store, fingerprint, signal, ["id"])
    for _ in walk:
        pass
    teacher, before = walk.teacher(records), store.quarantined(fingerprint, signal)
    aside = tuple((wrong, store.set_aside(path)) for path, wrong in walk.broken.items())
    if not aside and not before:
        return Repair(teacher, signal, (), 0, ())
    cache = Cache(store, fingerprint, lambda: None, 0, {})
    sets, left = _readable_sets(store, teacher)
    if signal != "logits":
        sets = _asked_for_states(cache, signal, store, sets)
    missing = _missing(cache, signal, store, sets)
    if not missing:
        return Repair(teacher, signal, aside, 0, tuple(left))
    try:
        opened = teacher.open(device)
    except UserError as e:
        left.append(f"{missing} rows cannot be asked here: {e}; {teacher.again()} where its model is")
        return Repair(teacher, signal, aside, 0, tuple(left))
    cache = Cache(store, fingerprint, lambda: opened.source, opened.width, made_by(fingerprint, *opened.asked))
    asked = cache.fill(signal, _rows(store, sets), missing, "repair")
    return Repair(teacher, signal, aside, asked, tuple(left))


def _readable_sets(store: Store, teacher: Teacher) -> tuple[list[str], list[str]]:
    """Folders of the transfer sets that the teacher was asked for, and what is wrong with the others."""
    sets, left = [], []
    for key in teacher.sets():
        folder = store.transfer(key)
        if not store.exists(f"{folder}/{COMPLETE}"):
            left.append(f"{folder}: this transfer set is gone, and with it the texts of its rows; {teacher.again()}, "
                        f"or let the rows go: kdpipe cache drop --teacher {teacher.fingerprint} --store {store.root}")
            continue
        try:
            for _ in store.scan(folder, ["id"]):
                pass
            sets.append(folder)
        except UserError as e:
            left += e.faults
    if not sets and not left:
        left.append(
            f"no record says for which rows teacher {teacher.fingerprint} was asked; {teacher.again()}: "
            "it asks for what is missing"
        )
    return sets, left


def _asked_for_states(cache: Cache, signal: str, store: Store, sets: list[str]) -> list[str]:
    """The sets of which at least half is stored: many recipes ask for logits alone. What else is lacking, the next run
    that needs it asks for."""
    found = []
    for folder in sets:
        rows = sum(len(table) for table in store.scan(folder, ["id"]))
        if 2 * _missing(cache, signal, store, [folder]) <= rows:
            found.append(folder)
    return found


def _missing(cache: Cache, signal: str, store: Store, sets: list[str]) -> int:
    stored, seen = cache.stored(signal), IdSet()
    for folder in sets:
        for rows in store.scan(folder, ["id"]):
            cache.missing(rows, stored, seen)
    return len(seen)


def _rows(store: Store, sets: list[str]) -> Iterator[pa.Table]:
    for folder in sets:
        yield from store.scan(folder, ["id", "text_a", "text_b"])
