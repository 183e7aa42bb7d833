"""Parquet wrapped round any source of signals: keyed by (teacher fingerprint, row id, signal), asked once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.idset import IdSet, Places, halves, join
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.types import SignalSource
from kdpipe.workers import cores

SHARD = 2048  # rows of a part; a killed run may have to ask two of them again, the one computed and the one written


def made_by(fingerprint: str, *asked: Mapping[str, object]) -> dict[str, str]:
    """What a part says of its origin: the teacher, and all that must be known to ask the same one again.

    asked: task, kind, labels, folder, checkpoint, label_names, max_length and compute type, once for each task.
    """
    first = asked[0] if asked else {}
    known = {key: str(first[key]) for key in ("folder", "task") if key in first}
    return {"teacher": fingerprint, **known, "asked": json.dumps(asked, sort_keys=True)}


@dataclass
class Cache:
    """Serves what is stored and asks the inner source only for rows it lacks.

    open_source is called at the first row that is really missing: no model is loaded for nothing.
    """

    store: Store
    fingerprint: str
    open_source: Callable[[], SignalSource]
    width: int  # values of a row: C for logits
    made_by: dict[str, str]
    shard: int = SHARD
    asked: int = 0  # rows that the inner source was asked for, since this object was made
    source: SignalSource | None = None  # since the first such row

    def stored(self, signal: str) -> Places:
        """Where the ids of all stored rows lie (a row written by two processes at once stands twice)."""
        return Places(self._load(signal, values=False)[0])

    def missing(self, rows: pa.Table, stored: Places, seen: IdSet | None = None) -> pa.Table:
        """The rows, each id once, that are neither stored nor seen before; now they are seen."""
        ids = halves(rows["id"])
        lacking = np.flatnonzero(stored.find(ids) < 0)
        new = (IdSet() if seen is None else seen).add(ids[lacking])
        return rows.take(pa.array(lacking[new]))

    def fill(self, signal: str, tables: Iterable[pa.Table], total: int | None = None, title: str = "teach") -> int:
        """Ask for all rows of the tables that are missing; the number asked.

        Tokenising the next shard, computing this one and writing the last one overlap. Each shard is one part,
        stored as soon as it is computed. Raises UserError naming the rows whose values are not finite.
        """
        lacking = _shards(self._lacking(signal, tables), self.shard)
        first = next(lacking, None)
        if first is None:
            return 0
        self.source = source = self.source or self.open_source()
        asked = 0
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(1) as behind, bar(title, total or 0) as advance:
            rows, ready, written = first, ahead.submit(source.prepare, first), None
            while rows is not None:
                following = next(lacking, None)
                encoded = ready.result()
                ready = ahead.submit(source.prepare, following) if following is not None else None
                values = source.compute(signal, encoded)
                _check_finite(signal, rows, values)
                _wait(written)
                written = behind.submit(self._write, signal, rows["id"], values)
                asked += len(rows)
                advance(len(rows))
                rows = following
            _wait(written)
        self.asked += asked
        return asked

    def ask(self, signal: str, rows: pa.Table) -> np.ndarray:
        """Rows [n] -> float32 [n, width], in their order; what is missing is asked first."""
        place, values = self._look_up(signal, rows["id"])
        if (place < 0).any():
            del values  # all of them are read again
            self.fill(signal, [rows], int((place < 0).sum()))
            return self.read(signal, rows["id"])
        return np.take(values, place, axis=0)

    def read(self, signal: str, ids: pa.ChunkedArray) -> np.ndarray:
        """Values of rows that are all stored, joined by id: float32 [n, width]. Raises UserError otherwise."""
        place, values = self._look_up(signal, ids)
        if not len(values):
            raise UserError(f"teacher {self.fingerprint} has said nothing yet; run the teach stage")
        if (place < 0).any():
            raise UserError(
                f"{(place < 0).sum()} of {len(place)} rows have no stored {signal} of teacher "
                f"{self.fingerprint}; run the teach stage"
            )
        return np.take(values, place, axis=0)

    def _look_up(self, signal: str, ids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """Where the values of each id are, -1 where nowhere [n], and all stored values [stored, width]."""
        stored, values = self._load(signal)
        return join(stored, [halves(chunk) for chunk in ids.chunks]), values

    def _load(self, signal: str, values: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """All stored ids, uint64 [n, 2], and their values, float32 [n, width], or none of these.

        Copied part by part into arrays that grow in place: the parts together would take as much memory again.
        """
        ids, found, n = np.empty((0, 2), np.uint64), np.empty((0, self.width), np.float32), 0
        folder = self.store.signals(self.fingerprint, signal)
        for part in self.store.scan(folder, None if values else ["id"], ahead=2 * cores()):
            more = n + len(part)
            if more > len(ids):
                room = max(more, len(ids) * 5 // 4)
                ids.resize((room, 2), refcheck=False)
                found.resize((room if values else 0, self.width), refcheck=False)
            ids[n:more] = halves(part["id"])
            if values:
                found[n:more] = self._values(part)
            n = more
        return ids[:n], found[:n]

    def _values(self, part: pa.Table) -> np.ndarray:
        column = part["values"].combine_chunks()
        if column.type.list_size != self.width:
            raise UserError(
                f"teacher {self.fingerprint}: stored rows have {column.type.list_size} values, "
                f"{self.width} are needed (number of classes)"
            )
        return column.flatten().to_numpy().reshape(-1, self.width)

    def _lacking(self, signal: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        stored, seen = self.stored(signal), IdSet()
        for table in tables:
            lacking = self.missing(table, stored, seen)
            if len(lacking):
                yield lacking

    def _write(self, signal: str, ids: pa.ChunkedArray, values: np.ndarray) -> None:
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
        table = pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(flat, self.width)})
        self.store.write_part(self.store.signals(self.fingerprint, signal), table, {**self.made_by, "signal": signal})


def _shards(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables of any size -> tables of `size` rows, the last one shorter."""
    held, rows = [], 0
    for table in tables:
        held, rows = [*held, table], rows + len(table)
        while rows >= size:
            joined = pa.concat_tables(held)
            yield joined.slice(0, size)
            held, rows = [joined.slice(size)], rows - size
    if rows:
        yield pa.concat_tables(held)


def _check_finite(signal: str, rows: pa.Table, values: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        shown = "; ".join(
            f"{rows['id'][int(i)].as_py().hex()} {rows['text_a'][int(i)].as_py()[:60]!r}" for i in bad[:5]
        )
        raise UserError(
            f"the teacher's {signal} are NaN or infinite for {len(bad)} rows: {shown}"
            f"{' ...' if len(bad) > 5 else ''}; nothing of this shard was stored; "
            "look at these texts, or at the teacher's weights (a teacher trained with too high a rate?)"
        )


def _wait(future: Future | None) -> None:
    if future is not None:
        future.result()
