"""Sets of 128-bit row ids in flat arrays: whole batches at once, no Python object for each id."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kdpipe.types import ID

_FULLEST = 0.6  # share of slots in use at which the table doubles: linear probing stays at about two looks
_BATCH = 1 << 16  # slots moved at once when it doubles
_ASKED = 1 << 20  # ids looked up at once
_STRETCH = 256


def halves(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Row ids [n] -> uint64 [n, 2], the same bytes seen as two numbers."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return np.frombuffer(ids.buffers()[1], "<u8").reshape(-1, 2)[ids.offset:ids.offset + len(ids)]


def as_ids(halves: np.ndarray) -> pa.Array:
    """The way back: uint64 [n, 2] -> row ids [n]."""
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(halves), [None, pa.py_buffer(np.ascontiguousarray(halves))])


def order(ids: np.ndarray) -> np.ndarray:
    """Ids uint64 [n, 2] -> the places that sort them, equal ids in the order they had: int64 [n]."""
    return np.lexsort((ids[:, 1], ids[:, 0]))


class Places:
    """Where each of many ids stands: built once by one sort, then asked for whole batches. 12 bytes an id beside them.

    Sorts the leading bits of each id with its place in the bits below them: one sort of plain numbers, four times as
    fast as sorting places by ids. Leading bits that are shared are told apart by the ids themselves.
    """

    def __init__(self, ids: np.ndarray):
        """ids: uint64 [n, 2]; an id that stands more than once is always found at the first of its places."""
        self.ids, self._bits = ids, np.uint64(len(ids).bit_length())
        self._leading, place = _sorted(ids[:, 0], self._bits)
        self._place = place.astype(np.uint32)
        self._later, self._first = self._repeated()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> the place of each, -1 where there is none: int64 [n]."""
        found = np.full(len(ids), -1)
        for start in range(0, len(ids) if len(self) else 0, _ASKED):
            block = slice(start, start + _ASKED)
            self._follow(ids[block], found[block])
            further = np.flatnonzero(found[block] < 0)
            found[start + further] = self._search(ids[start + further])
        if len(self._later):
            at = np.searchsorted(self._later, found).clip(max=len(self._later) - 1)
            found = np.where(self._later[at] == found, self._first[at], found)
        return found

    def _repeated(self) -> tuple[np.ndarray, np.ndarray]:
        """Rising places of ids that stood before, and the first place of each: int64 [repeated] twice."""
        same = np.flatnonzero(self._leading[1:] == self._leading[:-1])
        rows = np.unique(self._place[np.concatenate([same, same + 1])]).astype(np.int64)
        rows = rows[order(self.ids[rows])]
        ids, begins = self.ids[rows], np.ones(len(rows), bool)
        begins[1:] = ~_equal(ids[1:], ids[:-1])
        first = rows[np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))] if len(rows) else rows
        rising = np.argsort(rows[~begins])
        return rows[~begins][rising], first[~begins][rising]

    def _follow(self, ids: np.ndarray, found: np.ndarray) -> None:
        """Search one id in a stretch; where the others stand behind it as they do here, they are found as well.

        A teacher's answers lie in the order of a transfer set, so nearly all rows are found by a comparison.
        """
        heads = self._search(ids[::_STRETCH])
        guess = np.repeat(heads, _STRETCH)[:len(ids)] + np.arange(len(ids)) % _STRETCH
        guess[(guess >= len(self)) | np.repeat(heads < 0, _STRETCH)[:len(ids)]] = 0
        right = _equal(self.ids[guess], ids)
        found[right] = guess[right]

    def _search(self, ids: np.ndarray) -> np.ndarray:
        found = np.full(len(ids), -1)
        asked = _sorted(ids[:, 0], np.uint64(_ASKED.bit_length()))[1]  # so that the search walks through memory once
        wanted = ids[asked, 0] >> self._bits
        at = np.searchsorted(self._leading, wanted)
        while asked.size:
            there = at < len(self)
            there[there] = self._leading[at[there]] == wanted[there]
            asked, at, wanted = asked[there], at[there], wanted[there]
            place = self._place[at]
            same = _equal(self.ids[place], ids[asked])
            found[asked[same]] = place[same]
            asked, at, wanted = asked[~same], at[~same] + 1, wanted[~same]
        return found


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """uint64 [n, 2] twice -> bool [n]; NumPy's `all` over so short an axis takes three times as long."""
    return (a[:, 0] == b[:, 0]) & (a[:, 1] == b[:, 1])


def _sorted(numbers: np.ndarray, bits: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n] -> all but their lowest bits in rising order, and where each of these stood: n is less than 2^bits."""
    packed = numbers >> bits << bits
    packed |= np.arange(len(numbers), dtype=np.uint64)
    packed.sort()
    place = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    packed >>= bits
    return packed, place


class IdSet:
    """Open addressing with linear probing. An id of sixteen zero bytes (one text in 2^128) is never remembered."""

    def __init__(self, ids: np.ndarray | None = None):
        self._first, self._second = np.zeros(1024, np.uint64), np.zeros(1024, np.uint64)
        self._used = 0
        if ids is not None:
            self.add(ids)

    def __len__(self) -> int:
        return self._used

    def has(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> bool [n]."""
        found = np.zeros(len(ids), bool)
        pending, slot = np.arange(len(ids)), self._home(ids)
        while pending.size:
            here, empty = self._look(slot, ids[pending])
            found[pending[here]] = True
            further = ~(here | empty)
            pending, slot = pending[further], self._next(slot[further])
        return found

    def add(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> bool [n]: True on the first of each id that was not in the set; now all are."""
        if self._used + len(ids) > _FULLEST * len(self._first):
            self._grow(self._used + len(ids))
        new = np.zeros(len(ids), bool)
        pending, slot = np.arange(len(ids)), self._home(ids)
        while pending.size:
            here, empty = self._look(slot, ids[pending])
            new[pending[empty]], repeated = self._claim(pending[empty], slot[empty], ids)
            further = ~here
            further[empty] = ~(new[pending[empty]] | repeated)
            pending, slot = pending[further], self._next(slot[further])
        self._used += int(new.sum())
        return new

    def _claim(self, rows: np.ndarray, slot: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows that want empty slots -> who got one, who has the same id as the one that got it.

        The earliest row wins a slot that several want: NumPy keeps the last value written, so they write backwards.
        """
        self._second[slot[::-1]] = rows[::-1]
        owner = self._second[slot].astype(np.int64)
        got = owner == rows
        self._first[slot[got]], self._second[slot[got]] = ids[rows[got], 0], ids[rows[got], 1]
        return got, ~got & _equal(ids[rows], ids[owner])

    def _look(self, slot: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = self._first[slot], self._second[slot]
        empty = (first == 0) & (second == 0)
        return (first == ids[:, 0]) & (second == ids[:, 1]) & ~empty, empty

    def _home(self, ids: np.ndarray) -> np.ndarray:
        return (ids[:, 0] & np.uint64(len(self._first) - 1)).astype(np.int64)

    def _next(self, slot: np.ndarray) -> np.ndarray:
        return (slot + 1) & (len(self._first) - 1)

    def _grow(self, needed: int) -> None:
        first, second = self._first, self._second
        size = 1 << int(np.ceil(np.log2(needed / _FULLEST)))
        self._first, self._second, self._used = np.zeros(size, np.uint64), np.zeros(size, np.uint64), 0
        for start in range(0, len(first), _BATCH):
            ids = np.column_stack([first[start:start + _BATCH], second[start:start + _BATCH]])
            self.add(ids[ids.any(axis=1)])
