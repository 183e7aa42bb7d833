"""Rows that come piece by piece into arrays that grow in place: the pieces together would take as much memory again.

Beyond 256 MiB they go to a temporary file, which the system pages in and out: teachers' states can be many times what a
machine has of memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import numpy as np

from kdpipe.errors import UserError
from kdpipe.types import Encoded, Ragged, Values

IN_MEMORY = 2**28  # bytes
BLOCK = 4_096  # rows that are copied at once from file to file


class Growing:
    """Rows that come one after the other, [n, width], in one array."""

    def __init__(self, dtype: np.dtype, width: int):
        self.values, self.n, self.file = np.empty((0, width), dtype), 0, None

    def add(self, rows: np.ndarray) -> None:
        more = self.n + len(rows)
        if self.file or more * self.values.shape[1] * self.values.itemsize > IN_MEMORY:
            self._spill(rows)
            self.n = more
            return
        if more > len(self.values):
            self.values.resize((max(more, len(self.values) * 5 // 4), self.values.shape[1]), refcheck=False)
        self.values[self.n:more] = rows
        self.n = more

    def rows(self) -> np.ndarray:
        """[n, width]; nothing may be added after."""
        if self.file:
            with self.file as file:  # the mapping keeps the file when its name and this handle are gone
                file.flush()
                return np.memmap(file, self.values.dtype, "c", shape=(self.n, self.values.shape[1]))
        self.values.resize((self.n, self.values.shape[1]), refcheck=False)
        return self.values

    def _spill(self, rows: np.ndarray) -> None:
        try:
            if self.file is None:
                self.file = tempfile.TemporaryFile(prefix="kdpipe-")
                self.values[:self.n].tofile(self.file)
                self.values.resize((0, self.values.shape[1]), refcheck=False)
            np.ascontiguousarray(rows, self.values.dtype).tofile(self.file)
        except OSError as e:
            raise UserError(f"{tempfile.gettempdir()}: no room for what the rows say ({e}); nothing stored is lost; "
                            "free some, or name another folder by TMPDIR") from None


def taken(values: Values, rows: np.ndarray) -> Values:
    """Values of some rows, by position; out of a temporary file into another one, block by block."""
    flat = values.flat if isinstance(values, Ragged) else values
    if not isinstance(flat, np.memmap):
        return values.take(rows) if isinstance(values, Ragged) else np.take(values, rows, axis=0)
    blocks = np.array_split(rows, max(1, -(-len(rows) // BLOCK)))
    if isinstance(values, Ragged):
        into = _Segment(flat.dtype)
        for block in blocks:
            into.add(values.take(block))
    else:
        into = Growing(flat.dtype, flat.shape[1])
        for block in blocks:
            into.add(np.take(values, block, axis=0))
    return into.rows()


def joined(pieces: Iterable[Encoded], tokens: int) -> Encoded:
    """Encoded rows in pieces, at least one -> in one. tokens: of the vocabulary; few of them take two bytes each."""
    ids = np.dtype(np.uint16 if tokens <= 2**16 else np.int32)
    segments: list[_Segment] = []
    types = Growing(np.dtype(np.uint8), 1)
    for piece in pieces:
        segments = segments or [_Segment(ids) for _ in piece.segments]
        for into, segment in zip(segments, piece.segments, strict=True):
            into.add(segment)
        if piece.types is not None:
            types.add(piece.types[:, None])
    return Encoded(tuple(s.rows() for s in segments), types.rows()[:, 0] if types.n else None)


class _Segment:
    def __init__(self, ids: np.dtype):
        self.ids, self.ends = Growing(ids, 1), Growing(np.dtype(np.int64), 1)

    def add(self, rows: Ragged) -> None:
        self.ends.add(self.ids.n + (rows.offsets if not self.ends.n else rows.offsets[1:])[:, None])
        self.ids.add(rows.flat[:, None])

    def rows(self) -> Ragged:
        return Ragged(self.ids.rows()[:, 0], self.ends.rows()[:, 0])
