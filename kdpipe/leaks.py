"""Leaks: rows to learn from that are nearly rows of dev or test.

How near two texts are is the Jaccard similarity of their shingles: the words of a text and the pairs of neighbouring
words, without case and punctuation (Broder 1997; 0.8 as in Lee et al. 2022, arXiv:2107.06499, who count longer
shingles in longer texts). Nearly all of millions of made rows share too little with every held-out row of their
length, which arrays tell at once; the others are looked up by MinHash, and what that finds is counted exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.idset import Places, halves
from kdpipe.types import LEAKS

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

NEAR = 0.8
LEAST = 0.5  # texts below it are not near, and MinHash would have to name half of all rows
_BANDS, _BAND = 32, 4  # of 128 permutations: overlooks a similarity of 0.8 once in 10^7, one of 0.6 once in 100
_BITS = 24  # of the slots for held-out shingles by length: 16 MB
_KEY = 43  # bits of a shingle's number, so that it fits into a word with the row that has it
_NO_WORD = re.compile(r"[\W_]+")
_TOLERANCE = 1e-9
_ROWS = 2**18  # looked at at once; the number of a row and that of a shingle share a word
_LOWER = np.array([b if b > 127 else ord(chr(b).lower()) if chr(b).isalnum() else 0 for b in range(256)], np.uint8)
_FIRST = np.array([2 ** (8 * n) - 1 for n in range(9)], np.uint64)  # the first n of eight bytes
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Audit:
    """Lists the rows of a transfer set that are, or nearly are, rows of dev or test.

    near: the similarity from which rows are near; None: only exact copies are looked for.
    """

    def __init__(self, splits: Mapping[str, pa.Table], near: float | None = NEAR):
        tables = [rows.select(["id", "text_a", "text_b"]).append_column("split", pa.repeat(name, len(rows)))
                  for name, rows in splits.items()]
        self.held_out = pa.concat_tables(tables).combine_chunks() if tables else pa.table({"id": []})
        self.near = HeldOut(self.held_out, near) if near is not None and len(self.held_out) else None
        self.listed: dict[bytes, tuple] = {}  # id of a row -> its line of LEAKS
        self._exact: list[Places] = []

    def hold_out(self, ids: np.ndarray) -> None:
        """Ids uint64 [n, 2] of all rows held out, in one form of their texts: an equal row is a copy."""
        self._exact.append(Places(ids))

    def near_ones(self, rows: pa.Table, dropped: bool = True) -> np.ndarray:
        """Rows of schema TRANSFER -> how similar each is to one that is held out, which is listed; 0 where it is near
        none: float32 [n]."""
        similarity = np.zeros(len(rows), np.float32)
        if self.near is not None:
            found = self.near.find(rows)
            similarity[found.rows] = found.similarity
            self._list(rows, found, dropped)
        return similarity

    def copies(self, rows: pa.Table, dropped: bool = True) -> None:
        """List those of the rows that are copies."""
        ids = halves(rows["id"])
        place = np.full(len(ids), -1)
        for places in self._exact:
            place = np.maximum(place, places.find(ids))
        at = np.flatnonzero(place >= 0)
        self._list(rows, Found(at, place[at], np.ones(len(at), np.float32)), dropped)

    def table(self) -> pa.Table:
        """What was listed, schema LEAKS, each row once, by id."""
        lines = [self.listed[key] for key in sorted(self.listed)]
        return pa.table(list(map(list, zip(*lines, strict=True))), schema=LEAKS) if lines else LEAKS.empty_table()

    def _list(self, rows: pa.Table, found: Found, dropped: bool) -> None:
        mine = rows.select(["id", "text_a", "text_b", "operator"]).take(pa.array(found.rows)).to_pylist()
        others = self.held_out.take(pa.array(found.nearest)).to_pylist() if len(found.rows) else []
        for row, other, similarity in zip(mine, others, found.similarity, strict=True):
            self.listed.setdefault(row["id"], (
                row["id"], row["text_a"], row["text_b"], row["operator"], other["split"], other["id"], other["text_a"],
                other["text_b"], similarity, dropped))


def in_words(listed: Sequence[pa.Table]) -> pa.Table:
    """Tables of schema LEAKS as one that is read by people, most similar first. A copy has the same words and pairs."""
    names = ("operator", "split", "kind", "similarity", "dropped", "learned_from", "held_out")
    rows = [row for table in listed for row in table.to_pylist()]
    rows.sort(key=lambda row: (-row["similarity"], row["operator"], row["text_a"]))
    columns = list(zip(*((
        row["operator"], row["split"], "copy" if row["similarity"] == 1 else "near", round(row["similarity"], 3),
        row["dropped"], _joined(row["text_a"], row["text_b"]), _joined(row["held_out_a"], row["held_out_b"]),
    ) for row in rows), strict=True)) or [()] * len(names)
    return pa.table(dict(zip(names, map(list, columns), strict=True)))


def _joined(*texts: str | None) -> str:
    return " | ".join(text for text in texts if text is not None)


@dataclass(frozen=True)
class Found:
    """Rows that are near a held-out one: their places, the nearest row's place among those held out, the similarity."""

    rows: np.ndarray  # int64 [m], rising
    nearest: np.ndarray  # int64 [m]
    similarity: np.ndarray  # float32 [m]


@dataclass
class HeldOut:
    """Rows that must not be learnt from (text_a, text_b), and how near another row must not come: in [0.5, 1]."""

    rows: pa.Table
    near: float = NEAR

    def find(self, rows: pa.Table) -> Found:
        """Rows with text_a and text_b -> those that are near, each with the nearest, the first of equally near ones.

        A pair is near, too, where it is so with its texts changed over.
        """
        starts = range(0, max(len(rows), 1), _ROWS)
        each = [self._either_way(rows.slice(start, _ROWS)) for start in starts]
        return Found(
            np.concatenate([found.rows + start for start, found in zip(starts, each, strict=True)]),
            np.concatenate([found.nearest for found in each]), np.concatenate([found.similarity for found in each]))

    def _either_way(self, rows: pa.Table) -> Found:
        found = self._find(rows)
        if rows["text_b"].null_count == len(rows):
            return found
        names = [{"text_a": "text_b", "text_b": "text_a"}.get(name, name) for name in rows.column_names]
        over = self._find(rows.rename_columns(names).set_column(
            names.index("text_a"), "text_a", pc.fill_null(rows["text_b"], "")))
        more = ~np.isin(over.rows, found.rows)
        each = (np.concatenate([a, b[more]]) for a, b in zip(vars(found).values(), vars(over).values(), strict=True))
        rows_of, nearest, similarity = each
        order = np.argsort(rows_of)
        return Found(rows_of[order], nearest[order], similarity[order])

    def _find(self, rows: pa.Table) -> Found:
        sets, n = self._sets, len(rows)
        row, key = _shingles(rows)
        likely = self._shares_some(row, key, n)
        row, key = _distinct(row[likely[row]], key[likely[row]])
        likely = self._shares_enough(row, key, n)
        asked = zip(likely, _sets(likely, row, key), strict=True)
        found = [(i, *self._nearest(shingles, sets)) for i, shingles in asked]
        near = [each for each in found if each[2] >= self.near - _TOLERANCE]
        columns = zip(*near, strict=True) if near else ((), (), ())
        return Found(*map(np.array, columns, (np.int64, np.int64, np.float32)))

    def _shares_some(self, row: np.ndarray, key: np.ndarray, n: int) -> np.ndarray:
        """Whether each row may have enough shingles of held-out rows of about its length: bool [n].

        A shingle that stands twice in a row counts once in the end. So twice as many foreign ones are let through, and
        rows of up to twice the length; only a row that says most of its words twice is passed over.
        """
        size = np.bincount(row, minlength=n)
        there = self._some[_slot(key, _about(size)[row])]
        foreign = size - np.bincount(row[there], minlength=n)
        return (foreign <= 2 * (1 - self.near) * size + _TOLERANCE) & (size > 0)

    def _shares_enough(self, row: np.ndarray, key: np.ndarray, n: int) -> np.ndarray:
        """The rows that have enough shingles of held-out rows whose length suits theirs."""
        size = np.bincount(row, minlength=n)
        shared = np.bincount(row[self._suits[_slot(key, size[row])]], minlength=n)
        return np.flatnonzero((shared >= self.near * size - _TOLERANCE) & (size > 0))

    def _nearest(self, shingles: frozenset[int], sets: list[frozenset[int]]) -> tuple[int, float]:
        best = (0.0, 0)
        for i in self._index.query(_minhash(shingles)):
            best = max(best, (len(shingles & sets[i]) / len(shingles | sets[i]), -i))
        return -best[1], best[0]

    # ---- what is held out, in forms that can be asked

    @cached_property
    def _sets(self) -> list[frozenset[int]]:
        """The shingles of each held-out row."""
        return _sets(np.arange(len(self.rows)), *_distinct(*_shingles(self.rows)))

    @cached_property
    def _some(self) -> np.ndarray:
        """Whether a held-out row has a shingle, and may suit a row that has about n with the repeated ones: by slot."""
        return self._marked(lambda size: np.unique(_about(np.arange(_least(size, self.near),
                                                                   2 * _most(size, self.near) + 1))))

    @cached_property
    def _suits(self) -> np.ndarray:
        """Whether a held-out row has a shingle and suits a row of n different ones: bool by slot."""
        return self._marked(lambda size: np.arange(_least(size, self.near), _most(size, self.near) + 1))

    def _marked(self, lengths: Callable[[int], np.ndarray]) -> np.ndarray:
        table = np.zeros(1 << _BITS, bool)
        for shingles in self._sets:
            keys = np.fromiter(shingles, np.uint64, len(shingles))
            table[_slot(keys[:, None], lengths(len(keys)))] = True
        return table

    @cached_property
    def _index(self) -> MinHashLSH:
        from datasketch import MinHashLSH

        index = MinHashLSH(num_perm=_BANDS * _BAND, params=(_BANDS, _BAND))
        for i, shingles in enumerate(self._sets):
            if shingles:
                index.insert(i, _minhash(shingles), check_duplication=False)
        return index


def _shingles(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The row and the number of all words and pairs of neighbours: int64 [m], uint64 [m]."""
    places, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for segment, name in enumerate(("text_a", "text_b")):
        if rows[name].null_count == len(rows):
            continue
        row, word = _hashed(pc.fill_null(rows[name], ""))
        pair = np.flatnonzero(row[1:] == row[:-1])
        places += [row, row[pair]]
        keys += [_key(word, np.zeros_like(word), segment), _key(word[pair], word[pair + 1], segment)]
    return np.concatenate(places), np.concatenate(keys)


def _hashed(texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Texts without nulls -> the row of every word and a hash of its lower-case letters: int64 [m], uint64 [m]."""
    letters, offsets = _letters(texts)
    start, length = _words(letters, offsets)
    eights = np.ndarray(len(letters) - 7, "<u8", letters, strides=(1,))  # the eight bytes from each place on
    hashed = length.astype(np.uint64)
    left, done = np.arange(len(start)), 0
    while len(left):
        more = eights[start[left] + done] & _FIRST[np.minimum(length[left] - done, 8)]
        hashed[left] = _mixed(hashed[left] * _ODD + more)
        done += 8
        left = left[length[left] > done]
    return np.repeat(np.arange(len(texts)), np.diff(np.searchsorted(start, offsets))), hashed


def _letters(texts: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """All texts in lower case as UTF-8, zeros for what is in no word and at the end: uint8 [total + 8]; where each text
    begins and ends: int64 [texts + 1]."""
    texts = texts.cast(pa.large_string()).combine_chunks()
    plain = pc.string_is_ascii(texts)
    if not pc.all(plain).as_py():
        others = pc.invert(plain)
        lowered = [_NO_WORD.sub(" ", text.lower()) for text in texts.filter(others).to_pylist()]
        texts = pc.replace_with_mask(texts, others, pa.array(lowered, texts.type))
    _, offsets, data = texts.buffers()
    offsets = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    letters = np.zeros(offsets[-1] - offsets[0] + 8, np.uint8)
    letters[:-8] = _LOWER[np.frombuffer(data, np.uint8)[offsets[0]:offsets[-1]]]
    return letters, offsets - offsets[0]


def _words(letters: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words begin and how long they are: int64 [m] twice. A word ends with its text."""
    inside = letters != 0
    first, last = inside.copy(), inside.copy()
    first[1:] &= ~inside[:-1]
    last[:-1] &= ~inside[1:]
    first[offsets[:-1]] = inside[offsets[:-1]]
    ends = offsets[1:][offsets[1:] > 0] - 1
    last[ends] = inside[ends]
    start = np.flatnonzero(first)
    return start, np.flatnonzero(last) + 1 - start


def _key(first: np.ndarray, second: np.ndarray, segment: int) -> np.ndarray:
    """Hashes of a word, or of two, in one of the two texts -> numbers of 43 bits: uint64 [m]."""
    return _mixed(_mixed(first) + second * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(segment)) >> np.uint64(64 - _KEY)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on all bits: uint64 [m]."""
    numbers = numbers * np.uint64(0xD6E8FEB86659FD93)
    numbers ^= numbers >> np.uint64(32)
    return numbers * np.uint64(0xD6E8FEB86659FD93)


def _slot(key: np.ndarray, length: np.ndarray) -> np.ndarray:
    mixed = (key + (length.astype(np.uint64) << np.uint64(_KEY))) * _ODD
    return (mixed >> np.uint64(64 - _BITS)).astype(np.int64)


def _least(size: int, near: float) -> int:
    """The fewest shingles of a row that can be near one of `size`."""
    return math.ceil(near * size - _TOLERANCE)


def _most(size: int, near: float) -> int:
    return math.floor(size / near + _TOLERANCE)


def _about(size: np.ndarray) -> np.ndarray:
    """Numbers of shingles that differ by a fifth or so are one."""
    return (np.log1p(size) * 5).astype(np.int64)


def _distinct(row: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each shingle once in a row, row by row."""
    packed = np.sort((row.astype(np.uint64) << np.uint64(_KEY)) | key)  # NumPy's `unique` hashes: three times as slow
    packed = packed[np.concatenate([[True], packed[1:] != packed[:-1]])[:len(packed)]]
    return (packed >> np.uint64(_KEY)).astype(np.int64), packed & np.uint64((1 << _KEY) - 1)


def _sets(rows: np.ndarray, row: np.ndarray, key: np.ndarray) -> list[frozenset[int]]:
    """The shingles of some rows; those of a row lie together, row by row."""
    starts, stops = np.searchsorted(row, rows), np.searchsorted(row, rows, side="right")
    return [frozenset(key[start:stop].tolist()) for start, stop in zip(starts, stops, strict=True)]


def _minhash(shingles: frozenset[int]) -> MinHash:
    from datasketch import MinHash

    first = _first()
    found = MinHash(num_perm=_BANDS * _BAND, hashfunc=_upper, permutations=first.permutations, scheme=first.scheme)
    found.update_batch(shingles)
    return found


def _upper(shingle: int) -> int:
    return shingle >> (_KEY - 32)


@cache
def _first() -> MinHash:
    """The one whose permutations, drawn from a fixed seed, the others share."""
    from datasketch import MinHash

    return MinHash(num_perm=_BANDS * _BAND)
