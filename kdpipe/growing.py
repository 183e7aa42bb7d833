"""Rows that come piece by piece into arrays that grow in place: the pieces together would take as much memory again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kdpipe.types import Encoded, Ragged


class Growing:
    """Rows that come one after the other, [n, width], in one array."""

    def __init__(self, dtype: np.dtype, width: int):
        self.values, self.n = np.empty((0, width), dtype), 0

    def add(self, rows: np.ndarray) -> None:
        more = self.n + len(rows)
        if more > len(self.values):
            self.values.resize((max(more, len(self.values) * 5 // 4), self.values.shape[1]), refcheck=False)
        self.values[self.n:more] = rows
        self.n = more

    def rows(self) -> np.ndarray:
        """[n, width]; nothing may be added after."""
        self.values.resize((self.n, self.values.shape[1]), refcheck=False)
        return self.values


def joined(pieces: Iterable[Encoded]) -> Encoded:
    """Encoded rows in pieces, at least one -> in one."""
    flat: list[Growing] = []
    lengths: list[list[np.ndarray]] = []
    types = Growing(np.uint8, 1)
    for piece in pieces:
        if not flat:
            flat, lengths = [Growing(np.int32, 1) for _ in piece.segments], [[] for _ in piece.segments]
        for into, known, segment in zip(flat, lengths, piece.segments, strict=True):
            into.add(segment.flat[:, None])
            known.append(segment.lengths.astype(np.int32))
        if piece.types is not None:
            types.add(piece.types[:, None])
    segments = tuple(Ragged(into.rows()[:, 0], np.concatenate([[0], np.cumsum(np.concatenate(known), dtype=np.int64)]))
                     for into, known in zip(flat, lengths, strict=True))
    return Encoded(segments, types.rows()[:, 0] if types.n else None)
