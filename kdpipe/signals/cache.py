"""Parquet wrapped round any source of signals: keyed by (teacher fingerprint, row id, signal), asked once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.types import SignalSource

SHARD = 4096  # rows that a killed run may have to ask again


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

    def stored_ids(self, signal: str) -> pa.Array:
        """Ids of all stored rows, as they lie (a row written by two processes at once stands twice)."""
        table = self.store.read(self.store.signals(self.fingerprint, signal), ["id"])
        return table["id"].combine_chunks() if table is not None else pa.array([], pa.binary(16))

    def missing(self, signal: str, rows: pa.Table, stored: pa.Array | None = None) -> pa.Table:
        """The rows, each id once, that the cache lacks."""
        stored = self.stored_ids(signal) if stored is None else stored
        lacking = rows.filter(pc.invert(pc.is_in(rows["id"], value_set=stored)))
        return lacking.take(_first_of_each(lacking["id"]))

    def fill(self, signal: str, tables: Iterable[pa.Table], total: int | None = None, title: str = "teach") -> int:
        """Ask for all rows of the tables that are missing; the number asked.

        Half a shard is one part, stored as soon as it is computed. Tokenising the next part, computing this one and
        writing the last one overlap, so a stop loses at most two parts.
        Raises UserError naming the rows whose values are not finite.
        """
        lacking = _shards(self._lacking(signal, tables), max(self.shard // 2, 1))
        first = next(lacking, None)
        if first is None:
            return 0
        source, asked = self.open_source(), 0
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
        self.fill(signal, [rows], len(rows))
        return self.read(signal, rows["id"])

    def read(self, signal: str, ids: pa.ChunkedArray) -> np.ndarray:
        """Values of rows that are all stored, joined by id: float32 [n, width]. Raises UserError otherwise."""
        wanted = ids.combine_chunks()
        stored = self.store.read(self.store.signals(self.fingerprint, signal))
        if stored is None:
            raise UserError(f"teacher {self.fingerprint} has said nothing yet; run the teach stage")
        place = pc.index_in(wanted, value_set=stored["id"].combine_chunks())
        if place.null_count:
            raise UserError(
                f"{place.null_count} of {len(place)} rows have no stored {signal} of teacher "
                f"{self.fingerprint}; run the teach stage"
            )
        return self._values(stored)[place.to_numpy()]

    def _values(self, part: pa.Table) -> np.ndarray:
        column = part["values"].combine_chunks()
        if column.type.list_size != self.width:
            raise UserError(
                f"teacher {self.fingerprint}: stored rows have {column.type.list_size} values, "
                f"{self.width} are needed (number of classes)"
            )
        return column.flatten().to_numpy().reshape(-1, self.width)

    def _lacking(self, signal: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        stored = self.stored_ids(signal)
        for table in tables:
            lacking = self.missing(signal, table, stored)
            if len(lacking):
                stored = pa.concat_arrays([stored, lacking["id"].combine_chunks()])
                yield lacking

    def _write(self, signal: str, ids: pa.ChunkedArray, values: np.ndarray) -> None:
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
        table = pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(flat, self.width)})
        self.store.write_part(self.store.signals(self.fingerprint, signal), table, {**self.made_by, "signal": signal})


def _first_of_each(ids: pa.ChunkedArray) -> np.ndarray:
    """Positions of the first row of each id, ascending."""
    encoded = pc.dictionary_encode(ids.combine_chunks())
    return np.sort(np.unique(encoded.indices.to_numpy(), return_index=True)[1])


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
