"""Operators at work over a whole training text: shard by shard, copy by copy, in as many processes as asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pyarrow as pa

from kdpipe.augment import Operator
from kdpipe.augment._tokens import Tokenised
from kdpipe.idset import IdSet, halves
from kdpipe.leaks import Audit
from kdpipe.store import Store
from kdpipe.types import Round
from kdpipe.workers import in_order

PART_ROWS, PART_BYTES = 250_000, 2**28
_SHARD_ROWS, _SHARD_WORDS = 16_384, 2**18  # a shard ends at whichever comes first; what is made does not depend on it
_EXHAUSTED = 0.001  # with target_rows: a copy that adds less than this share of its source rows is the last one


@dataclass
class Intake:
    """The gate of a transfer set: lets a text in once, keeps held-out texts and what is near them out, counts all of
    these, writes parts.

    Holds 16 bytes for each row let in, in a table at most 60% full, and the rows of one part.
    """

    store: Store
    folder: str
    audit: Audit
    seen: IdSet = field(default_factory=IdSet)
    held_out: IdSet = field(default_factory=IdSet)
    operators: Counter[str] = field(default_factory=Counter)  # rows by lineage
    dropped_duplicates: int = 0
    dropped_leaks: int = 0  # copies of held-out rows: the same text, or the same words and pairs of words
    dropped_near: int = 0
    parts: list[str] = field(default_factory=list)
    _behind: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _writing: Future[str] | None = None  # the part that is encoded and flushed while the next one is made
    _waiting: list[pa.Table] = field(default_factory=list)
    _rows_waiting: int = 0
    _bytes_waiting: int = 0

    def hold_out(self, ids: np.ndarray) -> None:
        """Ids uint64 [n, 2] of rows that must not come in. They count as seen, so that most rows are looked up once."""
        self.held_out.add(ids)
        self.seen.add(ids)

    def take(self, rows: pa.Table, room: int | None = None) -> int:
        """Let in, of rows of schema TRANSFER, those that are new and not held out, at most `room`; how many came in."""
        kept = 0
        while len(rows) and (room is None or kept < room):
            head = len(rows) if room is None else min(room - kept, len(rows))
            kept += self._take(rows.slice(0, head))
            rows = rows.slice(head)
        return kept

    def _take(self, rows: pa.Table) -> int:
        ids = halves(rows["id"])
        new = self.seen.add(ids)
        kept, leaks = int(new.sum()), int(self.held_out.has(ids[~new]).sum())
        self.dropped_leaks += leaks
        self.dropped_duplicates += len(rows) - kept - leaks
        if leaks:
            self.audit.copies(rows)
        rows = rows if kept == len(rows) else rows.filter(pa.array(new))
        similarity = self.audit.near_ones(rows)
        near, copies = int((similarity > 0).sum()), int((similarity == 1).sum())
        self.dropped_leaks += copies
        self.dropped_near += near - copies
        self.write(rows.filter(pa.array(similarity == 0)) if near else rows)
        return kept - near

    def write(self, rows: pa.Table) -> None:
        """Let rows in unasked."""
        for name, n in _counts(rows["operator"]):
            self.operators[name] += n
        self._waiting.append(rows)
        self._rows_waiting += len(rows)
        self._bytes_waiting += rows.nbytes
        while self._rows_waiting >= PART_ROWS or self._bytes_waiting >= PART_BYTES:
            self._write_part()

    def close(self) -> None:
        """Write what is left of the last part, and wait until all is on disk."""
        if self._rows_waiting:
            self._write_part()
        self._wait()
        self._behind.shutdown()

    def _write_part(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._wait()
        self._writing = self._behind.submit(self._put, table.slice(0, PART_ROWS))
        self._waiting = [table.slice(PART_ROWS)]
        self._rows_waiting, self._bytes_waiting = len(self._waiting[0]), self._waiting[0].nbytes


    def _put(self, rows: pa.Table) -> str:
        return self.store.write_part(self.folder, rows.combine_chunks())

    def _wait(self) -> None:
        """Until the part before is on disk. Raises what its writing raised."""
        if self._writing is not None:
            self.parts.append(self._writing.result())
            self._writing = None


def _counts(names: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [(pair["values"], pair["counts"]) for pair in names.value_counts().to_pylist()]


@dataclass
class _Maker:
    """What a worker process is started with: a fitted operator and all source rows."""

    operator: Operator
    tokens: Tokenised
    where: Round

    def __call__(self, copy: int, start: int, stop: int) -> pa.Table:
        return self.operator.make(self.tokens.slice(start, stop), copy, self.where)


def make_all(operator: Operator, tokens: Tokenised, where: Round, workers: int, intake: Intake,
             advance: Callable[[int], None]) -> None:
    """All copies that a fitted operator makes of all rows, into the intake.

    With `target_rows`, copy after copy until so many rows came in, or until a copy adds next to nothing.
    """
    shards, target = list(_shards(tokens.n_words)), operator.target_rows
    tasks = ((copy, *shard) for copy in _copies(operator) for shard in shards)
    kept = 0
    with closing(in_order(_Maker(operator, tokens, where), tasks, workers)) as results:
        for _ in _copies(operator):
            before = kept
            for start, stop in shards:
                made = next(results)
                intake.dropped_duplicates += stop - start - len(made)  # rows that came out as they went in
                new = intake.take(made, None if target is None else target - kept)
                advance(stop - start if target is None else new)
                kept += new
                if kept == target:
                    return
            if target is not None and kept - before < _EXHAUSTED * len(tokens):
                return


def goal(operator: Operator, rows: int) -> int:
    """Rows that an operator will make of so many at most."""
    return min(n for n in (operator.target_rows, operator.copies and operator.copies * rows) if n is not None)


def _copies(operator: Operator) -> Iterable[int]:
    return count() if operator.copies is None else range(operator.copies)


def _shards(n_words: np.ndarray) -> Iterator[tuple[int, int]]:
    """Words of each row [rows] -> start and stop of shards of neighbouring rows."""
    ends, start = np.cumsum(n_words), 0
    while start < len(ends):
        before = ends[start] - n_words[start]
        full = int(np.searchsorted(ends, before + _SHARD_WORDS, side="right"))
        stop = min(max(full, start + 1), start + _SHARD_ROWS, len(ends))
        yield start, stop
        start = stop
