"""What the cache holds: teachers, rows, parts, bytes, last use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa

from kdpipe.care.teachers import Records, Teacher, asked_of, chosen, last_used
from kdpipe.idset import IdSet, halves
from kdpipe.store import PartBroken, PartGone, Store


@dataclass(frozen=True)
class Holding:
    """What is stored of one signal of one teacher."""

    teacher: Teacher
    signal: str
    rows: int
    distinct: int  # rows without those that two processes stored at once
    parts: int
    broken: tuple[str, ...]  # one message for each broken part; their rows are not counted
    bytes: int
    last_used: datetime | None


@dataclass(frozen=True)
class Size:
    """What the files of a teacher's signal take, from their names and lengths alone."""

    teacher: str
    signal: str
    parts: int
    bytes: int
    set_aside: int  # bytes of broken parts in the quarantine


@dataclass
class Walk:
    """The parts of a teacher's signal, one table at a time; what is broken is noted and passed over."""

    store: Store
    fingerprint: str
    signal: str
    columns: list[str] | None = None
    broken: dict[str, str] = field(default_factory=dict)  # path -> message
    asked: list[dict] = field(default_factory=list)  # what the whole parts say of their origin
    whole: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[str, pa.Table]]:
        """(path, table) of the whole parts; a part that another process took away meanwhile is left out."""
        for path in self.store.parts(self.store.signals(self.fingerprint, self.signal)):
            try:
                table = self.store.read_part(path, self.columns)
            except PartGone:
                continue
            except PartBroken as e:
                self.broken[path] = str(e)
                continue
            self.asked += [a for a in asked_of(table.schema.metadata) if a not in self.asked]
            self.whole.append(path)
            yield path, table

    def teacher(self, records: Records) -> Teacher:
        """The teacher as the parts that were walked over know it."""
        return Teacher(self.store, self.fingerprint, tuple(self.asked), records)


def all_finite(table: pa.Table) -> bool:
    """Whether a part's values are numbers, all of them."""
    return bool(np.isfinite(table["values"].combine_chunks().flatten().to_numpy()).all())


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far two rows of values lie apart: the largest difference, or of bits the share that is different."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if one.dtype == np.uint8:
        return float(np.unpackbits(one ^ other).mean())
    return float(np.abs(one.astype(np.float64) - other).max(initial=0))


def said_of(kind: pa.DataType) -> str:
    """The type of a part's values in words."""
    many = f"{kind.list_size} values" if pa.types.is_fixed_size_list(kind) else "as many values as the row is long"
    return f"{many} ({kind.value_type})"


def holdings(store: Store, teacher: str | None = None) -> list[Holding]:
    """What is stored of the teachers whose fingerprint begins so, or of all. Reads every part and checks its hash."""
    records = Records(store)
    return [_holding(store, *key, records) for key in chosen(store, teacher)]


def _holding(store: Store, fingerprint: str, signal: str, records: Records) -> Holding:
    walk, rows, seen = Walk(store, fingerprint, signal, ["id"]), 0, IdSet()
    for _, table in walk:
        rows += len(table)
        seen.add(halves(table["id"]))
    paths = [*walk.whole, *walk.broken]
    return Holding(
        walk.teacher(records),
        signal,
        rows,
        len(seen),
        len(paths),
        tuple(walk.broken.values()),
        sum(map(_bytes(store), paths)),
        last_used(store, fingerprint, paths, records),
    )


def sizes(store: Store) -> list[Size]:
    """The size of all that is cached, without opening a part."""
    size = _bytes(store)
    found = []
    for fingerprint, signal in chosen(store, None):
        parts = store.parts(store.signals(fingerprint, signal))
        aside = store.quarantined(fingerprint, signal)
        found.append(Size(fingerprint, signal, len(parts), sum(map(size, parts)), sum(map(size, aside))))
    return found


def _bytes(store: Store):
    """A path's length in bytes; 0 where another process took it away."""

    def size(path: str) -> int:
        try:
            return store.fs.size(path) or 0
        except FileNotFoundError:
            return 0

    return size
