"""Parquet wrapped round any source of signals: keyed by (teacher fingerprint, row id, signal), asked once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.growing import Growing, taken
from kdpipe.idset import IdSet, Places, halves, join
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.types import Ragged, SignalSource, Values
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
    outputs: int  # C: the values of a row's logits
    made_by: dict[str, str]
    shard: int = SHARD
    asked: int = 0  # rows that the inner source was asked for, since this object was made
    source: SignalSource | None = None  # since the first such row

    def stored(self, *signals: str) -> list[Places]:
        """Where the ids of all rows stored of each signal lie (a row written by two processes at once stands twice)."""
        return [Places(self._load(signal, values=False)[0]) for signal in signals]

    def missing(self, rows: pa.Table, stored: Sequence[Places], seen: IdSet | None = None) -> pa.Table:
        """The rows, each id once, that one of the signals lacks and that were not seen before; now they are seen."""
        ids = halves(rows["id"])
        lacking = np.flatnonzero(np.logical_or.reduce([places.find(ids) < 0 for places in stored]))
        new = (IdSet() if seen is None else seen).add(ids[lacking])
        return rows.take(pa.array(lacking[new]))

    def fill(self, signals: str | Sequence[str], tables: Iterable[pa.Table], total: int | None = None,
             title: str = "teach", besides: Sequence[str] = ()) -> int:
        """Ask for all rows of the tables that one of the signals lacks; the number asked.

        Tokenising the next shard, computing this one and writing the last one overlap. Each shard is one part of each
        signal, stored as soon as it is computed, and holds the rows that this signal lacked.
        besides: signals that no row is asked for, kept of the rows that are asked anyway.
        Raises UserError naming the rows whose values are not finite.
        """
        signals = (signals,) if isinstance(signals, str) else tuple(signals)
        stored = self.stored(*signals)
        lacking = _shards(self._lacking(stored, tables), self.shard)
        first = next(lacking, None)
        if first is None:
            return 0
        besides = [signal for signal in besides if signal not in signals]
        signals, stored = (*signals, *besides), [*stored, *self.stored(*besides)]
        self.source = source = self.source or self.open_source()
        asked = 0
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(1) as behind, bar(title, total or 0) as advance:
            rows, ready, written = first, ahead.submit(source.prepare, first), None
            while rows is not None:
                following = next(lacking, None)
                encoded = ready.result()
                ready = ahead.submit(source.prepare, following) if following is not None else None
                values = source.compute(signals, encoded)
                for signal in signals:
                    _check_finite(signal, rows, values[signal])
                _wait(written)
                written = behind.submit(self._write, stored, rows["id"], values)
                asked += len(rows)
                advance(len(rows))
                rows = following
            _wait(written)
        self.asked += asked
        return asked

    def ask(self, signal: str, rows: pa.Table) -> Values:
        """Rows [n] -> their values, in their order; what is missing is asked first."""
        return self.ask_all([signal], rows["id"], [rows])[signal]

    def ask_all(self, signals: Sequence[str], ids: pa.ChunkedArray, tables: Iterable[pa.Table],
                besides: Sequence[str] = ()) -> dict[str, Values]:
        """`ask` for several signals, by one forward pass for each row that lacks any of them.

        tables: the rows of these ids with their texts, read only where one is missing.
        """
        found = {signal: self._look_up(signal, ids) for signal in signals}
        lacking = np.zeros(len(ids), bool)
        for place, _ in found.values():
            lacking |= place < 0
        if lacking.any():
            found.clear()
            self.fill(signals, tables, int(lacking.sum()), besides=besides)
            return {signal: self.read(signal, ids) for signal in signals}
        return {signal: taken(values, place) for signal, (place, values) in found.items()}

    def read(self, signal: str, ids: pa.ChunkedArray) -> Values:
        """Values of rows that are all stored, joined by id. Raises UserError otherwise."""
        place, values = self._look_up(signal, ids)
        if not len(values):
            raise UserError(f"teacher {self.fingerprint} has said nothing yet; run the teach stage")
        if (place < 0).any():
            raise UserError(
                f"{(place < 0).sum()} of {len(place)} rows have no stored {signal} of teacher "
                f"{self.fingerprint}; run the teach stage"
            )
        return taken(values, place)

    def _look_up(self, signal: str, ids: pa.ChunkedArray) -> tuple[np.ndarray, Values]:
        """Where the values of each id are, -1 where nowhere [n], and all stored values."""
        stored, values = self._load(signal)
        return join(stored, [halves(chunk) for chunk in ids.chunks]), values

    def _load(self, signal: str, values: bool = True) -> tuple[np.ndarray, Values]:
        """All stored ids, uint64 [n, 2], and their values, or none of these.

        Copied part by part into arrays that grow in place: the parts together would take as much memory again.
        """
        ids, found, lengths = Growing(np.uint64, 2), None, []
        for part in self.store.scan(self.store.signals(self.fingerprint, signal), None if values else ["id"],
                                    ahead=2 * cores()):
            ids.add(halves(part["id"]))
            if values:
                here = row_values(part)
                flat = here.flat[:, None] if isinstance(here, Ragged) else self._checked(signal, here)
                found = found or Growing(flat.dtype, flat.shape[1])
                found.add(flat)
                lengths += [here.lengths] if isinstance(here, Ragged) else []
        known = found.rows() if found else np.empty((0, self.outputs), np.float32)
        if lengths:
            known = Ragged(known[:, 0], np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
        return ids.rows(), known

    def _checked(self, signal: str, values: np.ndarray) -> np.ndarray:
        if signal == "logits" and values.shape[1] != self.outputs:
            raise UserError(f"teacher {self.fingerprint}: stored rows have {values.shape[1]} values, {self.outputs} "
                            "are needed (number of classes)")
        return values

    def _lacking(self, stored: Sequence[Places], tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        seen = IdSet()
        for table in tables:
            lacking = self.missing(table, stored, seen)
            if len(lacking):
                yield lacking

    def _write(self, stored: Sequence[Places], ids: pa.ChunkedArray, values: Mapping[str, Values]) -> None:
        for places, (signal, of_all) in zip(stored, values.items(), strict=True):
            new = np.flatnonzero(places.find(halves(ids)) < 0)
            here, those = (ids, of_all) if len(new) == len(ids) else (ids.take(pa.array(new)), taken(of_all, new))
            if len(new):
                table = pa.table({"id": here, "values": _column(those)})
                folder = self.store.signals(self.fingerprint, signal)
                self.store.write_part(folder, table, {**self.made_by, "signal": signal})


def row_values(part: pa.Table) -> Values:
    """The values of a part's rows: [n, width], or Ragged where longer rows have more of them."""
    column = part["values"].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(part), column.type.list_size)
    offsets = column.offsets.to_numpy().astype(np.int64)
    return Ragged(column.flatten().to_numpy(), offsets - offsets[0])


def _column(values: Values) -> pa.Array:
    if isinstance(values, Ragged):
        return pa.LargeListArray.from_arrays(pa.array(values.offsets), pa.array(values.flat))
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


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


_TOO_LARGE = "; or they are beyond 65,504, the most that float16 holds: states = \"fp32\" keeps them in float32"


def _numbers(values: Values) -> np.ndarray:
    return values.flat if isinstance(values, Ragged) else values


def _check_finite(signal: str, rows: pa.Table, values: Values) -> None:
    wrong = ~np.isfinite(_numbers(values))
    if not wrong.any():
        return
    bad = np.flatnonzero(np.add.reduceat(wrong, values.offsets[:-1]) if isinstance(values, Ragged) else wrong.any(1))
    if len(bad):
        shown = "; ".join(
            f"{rows['id'][int(i)].as_py().hex()} {rows['text_a'][int(i)].as_py()[:60]!r}" for i in bad[:5]
        )
        raise UserError(
            f"the teacher's {signal} are NaN or infinite for {len(bad)} rows: {shown}"
            f"{' ...' if len(bad) > 5 else ''}; nothing of this shard was stored; "
            "look at these texts, or at the teacher's weights (a teacher trained with too high a rate?)"
            f"{_TOO_LARGE if _numbers(values).dtype == np.float16 else ''}"
        )


def _wait(future: Future | None) -> None:
    if future is not None:
        future.result()
