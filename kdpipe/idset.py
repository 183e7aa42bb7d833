"""Sets of 128-bit row ids in flat arrays: whole batches at once, no Python object for each id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pyarrow as pa

from kdpipe.types import ID, id_bytes

_FULLEST = 0.6  # share of slots in use at which the table doubles: a search stays at about two looks
_ROW_BITS = np.uint64(15)
_BATCH = 1 << 15  # ids looked for at once: what is known of them stays in the processor's cache
_ASKED = 1 << 20  # ids that Places looks up at once
_STRETCH = 256  # of the ids that lie in one order with those asked for, one in so many is looked for
_KNOWN_BITS = 22  # leading bits by which most ids are told to be no such one
_TOP = np.uint64(64 - _KNOWN_BITS)


def halves(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Row ids [n] -> uint64 [n, 2], the same bytes seen as two numbers."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    return np.frombuffer(id_bytes(ids), "<u8").reshape(-1, 2)


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
        self.ids, self._bits, self._along = ids, np.uint64(len(ids).bit_length()), _Along(ids)
        self._leading, self._place = _sorted(ids[:, 0], self._bits)
        self._later, self._first = self._repeated()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> the place of each, -1 where there is none: int64 [n]."""
        found = np.full(len(ids), -1)
        for block in _blocks(len(ids) if len(self) else 0):
            found[block] = self._along.find(ids[block])
            further = np.flatnonzero(found[block] < 0)
            found[block.start + further] = self._search(ids[block.start + further])
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


def join(stored: np.ndarray, asked: list[np.ndarray]) -> np.ndarray:
    """Where each of the ids asked for, in pieces, stands among those stored, -1 where it does not: int64 [asked].

    A teacher's answers lie in stretches in the order of the transfer set that it was asked for. So the heads of such
    stretches are looked for among the ids asked for, what stands behind them is compared, and only what that leaves
    over is sorted and searched. An id that is stored more than once is found at the first of its places (at any of
    them where it is asked for more than once as well).
    """
    along = _Along(stored)
    found = [along.find(piece[block]) for piece in asked for block in _blocks(len(piece))]
    found = np.concatenate([np.empty(0, np.int64), *found])
    _fill(found, asked, stored, _others(stored, found))
    _fill(found, asked, stored, np.arange(len(stored)))  # what is asked for twice: a stretch has led past its place
    _prefer(found, asked, stored, _others(stored, found))
    return found


def _others(stored: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The places that nothing was found at."""
    left = np.ones(len(stored), bool)
    left[found[found >= 0]] = False
    return np.flatnonzero(left)


def _prefer(found: np.ndarray, asked: list[np.ndarray], stored: np.ndarray, others: np.ndarray) -> None:
    """Take the earlier place where an id stands at another one too."""
    if not len(others) or not len(found):
        return
    known = _known(stored[others, 0])
    again = np.flatnonzero(np.concatenate([known[piece[:, 0] >> _TOP] for piece in asked]) & (found >= 0))
    place = Places(stored[others]).find(_taken(asked, again))
    again, place = again[place >= 0], others[place[place >= 0]]
    found[again] = np.minimum(found[again], place)


def _known(numbers: np.ndarray) -> np.ndarray:
    """Which leading bits there are among numbers: bool [2^22]."""
    known = np.zeros(1 << _KNOWN_BITS, bool)
    known[numbers >> _TOP] = True
    return known


def _fill(found: np.ndarray, asked: list[np.ndarray], stored: np.ndarray, among: np.ndarray) -> None:
    """Search what was not found yet among some of those stored."""
    lacking = np.flatnonzero(found < 0)
    if not len(lacking):
        return
    ids = _taken(asked, lacking)
    among = among[_known(ids[:, 0])[stored[among, 0] >> _TOP]]
    place = Places(stored[among]).find(ids)
    found[lacking[place >= 0]] = among[place[place >= 0]]


def _taken(pieces: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Rising rows of all pieces, one behind the other."""
    taken, start = [np.empty((0, 2), np.uint64)], 0
    for piece in pieces:
        first, last = np.searchsorted(rows, (start, start + len(piece)))
        taken.append(piece[rows[first:last] - start])
        start += len(piece)
    return np.concatenate(taken)


class _Along:
    """Stretches of stored ids, followed through the ids asked for.

    A teacher's answers lie in the order of a transfer set, so nearly all rows are found by a comparison.
    """

    def __init__(self, stored: np.ndarray):
        heads = np.arange(0, len(stored), _STRETCH)
        self.stored, self.heads = stored, heads[np.argsort(stored[heads, 0])]
        self.leading = stored[self.heads, 0]
        self.known = _known(self.leading)
        self.next = -1  # the stored place that comes next, after what was asked for last; -1 before the first head

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2], which come behind those asked for before -> places, -1 where none was found: int64 [n]."""
        if not len(self.stored):
            return np.full(len(ids), -1)
        at = np.flatnonzero(self.known[ids[:, 0] >> _TOP])
        head = self.heads[np.searchsorted(self.leading, ids[at, 0]).clip(max=len(self.heads) - 1)]
        right = _equal(self.stored[head], ids[at])
        at, head = np.concatenate([[0], at[right]]), np.concatenate([[self.next], head[right]])
        guess = np.arange(len(ids)) + np.repeat(head - at, np.diff(np.append(at, len(ids))))
        if len(at) == 1 and self.next < 0:
            return np.full(len(ids), -1)
        self.next = int(guess[-1]) + 1
        guess[(guess < 0) | (guess >= len(self.stored))] = 0
        return np.where(_equal(self.stored[guess], ids), guess, -1)


def _equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """uint64 [n, 2] twice -> bool [n]; NumPy's `all` over so short an axis takes three times as long."""
    return (a[:, 0] == b[:, 0]) & (a[:, 1] == b[:, 1])


def _sorted(numbers: np.ndarray, bits: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n] -> all but their lowest bits in rising order, and where each of these stood: n is less than 2^bits.

    Block by block: memory that is touched for the first time costs more than all else that is done here.
    """
    packed, place = numbers >> bits, np.empty(len(numbers), np.uint32)
    low = (np.uint64(1) << bits) - np.uint64(1)
    for block in _blocks(len(packed)):
        packed[block] <<= bits
        packed[block] |= np.arange(block.start, block.stop, dtype=np.uint64)
    packed.sort()
    for block in _blocks(len(packed)):
        place[block] = packed[block] & low
        packed[block] >>= bits
    return packed, place


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _ASKED, n)) for start in range(0, n, _ASKED))


class IdSet:
    """Open addressing with growing steps. Ids are looked for in the order of their slots, so that memory is walked
    through once and not jumped about in. A slot is empty while its first half is zero: where an id begins with eight
    zero bytes, a one stands for them (two texts of one such kind meet once in 2^127)."""

    def __init__(self, ids: np.ndarray | None = None):
        self._first, self._second = np.zeros(1024, np.uint64), np.zeros(1024, np.uint64)
        self._used = 0
        if ids is not None:
            self.add(ids)

    def __len__(self) -> int:
        return self._used

    def has(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> bool [n]."""
        return _in_batches(self._has, ids)

    def add(self, ids: np.ndarray) -> np.ndarray:
        """Ids uint64 [n, 2] -> bool [n]: True on the first of each id that was not in the set; now all are."""
        self.reserve(len(ids))
        return _in_batches(self._add, ids)

    def reserve(self, more: int) -> None:
        """Make room for so many more ids at once, where they are sure to come: growing by doubling moves them often."""
        if self._used + more > _FULLEST * len(self._first):
            self._grow(self._used + more)

    def _has(self, ids: np.ndarray) -> np.ndarray:
        found = np.zeros(len(ids), bool)
        rows, slot, first, second = self._homes(ids)
        for step in count(1):
            there = self._first[slot]
            same = self._same(there, slot, first, second)
            found[rows[same]] = True
            left = np.flatnonzero((there != 0) & ~same)
            if not left.size:
                return found
            rows, slot, first, second = rows[left], self._on(slot[left], step), first[left], second[left]

    def _add(self, ids: np.ndarray) -> np.ndarray:
        new = np.zeros(len(ids), bool)
        rows, slot, first, second = self._homes(ids)
        for step in count(1):
            there = self._first[slot]
            empty = np.flatnonzero(there == 0)
            won = empty[self._claim(rows[empty], slot[empty])]
            self._first[slot[won]], self._second[slot[won]] = first[won], second[won]
            new[rows[won]] = True
            there[empty] = self._first[slot[empty]]  # those who lost look who has it now
            left = np.flatnonzero(~self._same(there, slot, first, second))
            if not left.size:
                break
            rows, slot, first, second = rows[left], self._on(slot[left], step), first[left], second[left]
        self._used += int(new.sum())
        return new

    def _homes(self, ids: np.ndarray) -> tuple[np.ndarray, ...]:
        """Rows by the slot where each is to be looked for first; their slots and the two halves of their ids."""
        first = np.maximum(ids[:, 0], np.uint64(1))
        key = first & np.uint64(len(self._first) - 1)
        key <<= _ROW_BITS
        key |= np.arange(len(ids), dtype=np.uint64)
        key.sort()
        rows = (key & np.uint64(_BATCH - 1)).astype(np.int64)
        key >>= _ROW_BITS
        return rows, key.astype(np.int64), first[rows], ids[:, 1][rows]

    def _same(self, there: np.ndarray, slot: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Whether the slots hold the ids; only where the first halves are equal the second ones are looked at."""
        same = there == first
        alike = np.flatnonzero(same)
        same[alike] = self._second[slot[alike]] == second[alike]
        return same

    def _claim(self, rows: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Rows that want empty slots -> who may have it, bool.

        Of equal ids the earliest row wins: NumPy keeps the last value written, so they write backwards.
        """
        self._second[slot[::-1]] = rows[::-1]
        return self._second[slot] == rows

    def _on(self, slot: np.ndarray, step: int) -> np.ndarray:
        """The next slots: steps of 1, 2, 3, ... come to every slot of a table of 2^k and cross one another's ways less
        than steps of 1 do."""
        return (slot + step) & (len(self._first) - 1)

    def _grow(self, needed: int) -> None:
        first, second = self._first, self._second
        size = 1 << int(np.ceil(np.log2(needed / _FULLEST)))
        self._first, self._second, self._used = np.zeros(size, np.uint64), np.zeros(size, np.uint64), 0
        for start in range(0, len(first), _BATCH):
            used = start + np.flatnonzero(first[start:start + _BATCH])
            self._add(np.column_stack([first[used], second[used]]))


def _in_batches(ask: Callable[[np.ndarray], np.ndarray], ids: np.ndarray) -> np.ndarray:
    answers = [ask(ids[start:start + _BATCH]) for start in range(0, len(ids), _BATCH)]
    return np.concatenate(answers) if answers else np.zeros(0, bool)
