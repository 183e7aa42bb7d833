"""Rows of unequal length as flat arrays: gather, join, cut, fill; and columns of text in blocks of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.types import Ragged

BLOCK_ROWS = 65_536
BLOCK_BYTES = 2**25

Texts = pa.ChunkedArray | Iterable[pa.Array]  # an iterable that can be gone over again


def from_lists(rows: Sequence[Sequence[int]]) -> Ragged:
    """Python sequences of ids -> Ragged."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    offsets = _offsets(lengths)
    flat = np.fromiter((i for row in rows for i in row), np.int32, offsets[-1])
    return Ragged(flat, offsets)


def gather(source: Ragged, rows: np.ndarray) -> Ragged:
    """Row k of the result is row rows[k] of the source; source.flat may have any element type."""
    lengths = source.lengths[rows]
    offsets = _offsets(lengths)
    return Ragged(source.flat[_positions(source.offsets[rows], lengths, offsets)], offsets)


def join(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, one part after another."""
    if len(parts) == 1:
        return parts[0]
    lengths = [part.lengths for part in parts]
    return Ragged(np.concatenate([np.empty(0, np.int32), *(part.flat for part in parts)]),
                  _offsets(np.concatenate([np.empty(0, np.int64), *lengths])))


def cut(source: Ragged, max_length: int) -> Ragged:
    """The first max_length ids of each row."""
    lengths = source.lengths
    if len(lengths) == 0 or lengths.max() <= max_length:
        return source
    lengths = np.minimum(lengths, max_length)
    offsets = _offsets(lengths)
    return Ragged(source.flat[_positions(source.offsets[:-1], lengths, offsets)], offsets)


def fill(source: Ragged, value: int) -> Ragged:
    """Rows without ids get one: `value`."""
    empty = source.lengths == 0
    if not empty.any():
        return source
    flat = np.insert(source.flat, source.offsets[:-1][empty], value)
    return Ragged(flat, source.offsets + np.concatenate([[0], np.cumsum(empty)]))


def count(source: Ragged, wanted: np.ndarray) -> np.ndarray:
    """How many ids of each row are wanted (bool [total]) -> int32 [rows]."""
    before = np.concatenate([[0], np.cumsum(wanted)])
    return np.diff(before[source.offsets]).astype(np.int32)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _positions(starts: np.ndarray, lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def blocks(texts: Texts) -> Iterator[pa.Array]:
    """Consecutive slices of at most 65,536 texts and about 32 MB; nulls become empty texts."""
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else texts:
        for start in range(0, len(chunk), BLOCK_ROWS):
            yield from _halved(chunk.slice(start, BLOCK_ROWS))


def _halved(block: pa.Array) -> Iterator[pa.Array]:
    if len(block) > 1 and (pc.sum(pc.binary_length(block)).as_py() or 0) > BLOCK_BYTES:
        half = len(block) // 2
        yield from _halved(block.slice(0, half))
        yield from _halved(block.slice(half))
    else:
        yield pc.fill_null(block, "") if block.null_count else block


def count_chunks(texts: Iterable[pa.Array]) -> Counter[str]:
    """How often each stretch without white space occurs; the empty one may be among them."""
    chunks: Counter[str] = Counter()
    for block in texts:
        values, counts = pc.utf8_split_whitespace(block).values.value_counts().flatten()
        chunks.update(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))
    return chunks
