"""Is the cache whole and right: the hash of every part, then a sample of rows asked of the teacher again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdpipe.care.holdings import Walk, all_finite, distance
from kdpipe.care.teachers import Records, Teacher, chosen
from kdpipe.errors import UserError
from kdpipe.idset import IdSet, Places, halves
from kdpipe.signals.cache import row_values
from kdpipe.store import COMPLETE, Store
from kdpipe.types import SignalSource, row_ids

TOLERANCE = {"fp32": 1e-3, "bf16": 0.25, "fp16": 0.05, "int8": 0.5}  # of a logit: another machine, another batch
ROUNDING = 2**-9  # of values that are kept in float16, as a share of the largest: a number may fall on either side


@dataclass(frozen=True)
class Verdict:
    """What a check of one signal of one teacher found."""

    teacher: Teacher
    signal: str
    parts: int
    broken: tuple[str, ...]
    rows: int
    asked: int  # rows of the sample that were asked again
    difference: float | None  # the largest of a value; None where nothing was asked
    faults: tuple[str, ...]  # what is wrong beside broken parts
    note: str  # why nothing was asked again, or ""

    @property
    def ok(self) -> bool:
        return not self.broken and not self.faults


def verify(
    store: Store, teacher: str | None = None, sample: int = 256, seed: int = 0, device: str = "auto"
) -> list[Verdict]:
    """Check every part of the teachers chosen, and ask each for a sample of its rows again.

    sample: rows, drawn by their id and the seed among those whose text is in a finished transfer set of this store.
    """
    records = Records(store)
    return [_verdict(store, *key, records, sample, seed, device) for key in chosen(store, teacher)]


def _verdict(
    store: Store, fingerprint: str, signal: str, records: Records, sample: int, seed: int, device: str
) -> Verdict:
    walk, ids, rows = Walk(store, fingerprint, signal), IdSet(), 0
    faults: list[str] = []
    for path, table in walk:
        rows += len(table)
        ids.add(halves(table["id"]))
        if not all_finite(table):
            faults.append(f"{path}: values that are NaN or infinite")
    teacher = walk.teacher(records)
    found, difference, asked, note = None, None, 0, ""
    if sample and len(ids):
        found, unread = _sample(store, ids, sample, seed)
        faults += unread
        note = "" if len(found) else "the texts of its rows are in no transfer set of this store"
    if found is not None and len(found):
        try:
            opened = teacher.open(device)
        except UserError as e:
            note = str(e)
        else:
            (difference, largest), asked = _difference(walk, opened.source, signal, found), len(found)
            allowed = TOLERANCE[opened.compute] + largest * ROUNDING
            if not difference <= allowed:
                faults.append(
                    f"teacher {fingerprint}: it says something else now: a {signal} value differs by {difference:.3g}, "
                    f"more than {allowed:.3g} ({opened.compute}); its rows are not its own, or this machine computes "
                    "wrongly"
                )
    broken = tuple(walk.broken.values())
    parts = len(set(walk.whole)) + len(broken)
    return Verdict(teacher, signal, parts, broken, rows, asked, difference, tuple(faults), note)


def _sample(store: Store, stored: IdSet, size: int, seed: int) -> tuple[pa.Table, list[str]]:
    """The rows of transfer sets, among those stored, whose mixed ids are the smallest: each row once, any order of
    parts; and what is wrong with the sets. A row whose id is not that of its text is a fault."""
    kept, faults = None, []
    for folder in store.listing(store.transfer("_").rsplit("/", 1)[0]):
        if not store.exists(f"{folder}/{COMPLETE}"):
            continue
        try:
            for rows in store.scan(folder, ["id", "text_a", "text_b"]):
                here = rows.filter(pa.array(stored.has(halves(rows["id"]))))
                kept = _smallest(here if kept is None else pa.concat_tables([kept, here]), size, seed)
        except UserError as e:
            faults += e.faults
    if kept is None:
        kept = pa.table({"id": pa.array([], pa.binary(16))})
    elif wrong := sum(a != b for a, b in zip(kept["id"].to_pylist(), _hashed(kept), strict=True)):
        faults.append(f"{wrong} of {len(kept)} rows of transfer sets do not have the id of their text")
    return kept, faults


def _hashed(rows: pa.Table) -> list[bytes]:
    return row_ids(rows["text_a"], rows["text_b"]).to_pylist()


def _smallest(rows: pa.Table, size: int, seed: int) -> pa.Table:
    """At most `size` rows, each id once."""
    ids = halves(rows["id"])
    mixed = (ids[:, 0] ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)) * np.uint64(0xBF58476D1CE4E5B9)
    order = np.argsort(mixed, kind="stable")
    new = IdSet().add(ids[order])
    return rows.take(pa.array(order[new][:size]))


def _difference(walk: Walk, source: SignalSource, signal: str, rows: pa.Table) -> tuple[float, float]:
    """How far what is stored, in any part, lies from what the teacher says now at most; and the largest value that is
    kept in float16, 0 where none is."""
    again = source.compute([signal], source.prepare(rows))[signal]
    places, worst, largest = Places(halves(rows["id"])), 0.0, 0.0
    for _, table in Walk(walk.store, walk.fingerprint, walk.signal):
        place = places.find(halves(table["id"]))
        here = np.flatnonzero(place >= 0)
        stored = row_values(table) if len(here) else ()
        for row in here:
            worst = np.fmax(worst, distance(stored[row], again[place[row]]))
            largest = max(largest, float(np.abs(stored[row]).max()) if stored[row].dtype == np.float16 else 0.0)
    return float(worst), largest

