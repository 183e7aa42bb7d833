"""What all word operators share: a text while it is changed, the cycle over pairs, and the table of made rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import pyarrow as pa

from kdpipe.augment import Operator
from kdpipe.augment._tokens import Lexicon, Tokenised, as_offsets, runs
from kdpipe.draws import bits_along, row_keys, uniforms
from kdpipe.errors import UserError
from kdpipe.idset import as_ids
from kdpipe.types import TRANSFER, Round, row_ids

BITS = {"mask": 1, "pos_swap": 2, "ngram": 4}  # who changed a row; the lineage lists them in this order
LINEAGE = pa.array(["+".join(name for name, bit in BITS.items() if bits & bit) for bits in range(8)])


@dataclass
class Draft:
    """One text of each row while operators change it: a window of the original. Words lie flat, text after text."""

    lexicon: Lexicon
    words: np.ndarray  # int32 [total]: word codes
    place: np.ndarray  # int64 [total]: where each word stood in the flat originals
    tags: np.ndarray | None  # int32: tag codes of the flat originals
    starts: np.ndarray  # int64 [rows]: first word of the window
    lengths: np.ndarray  # int64 [rows]: words of the window
    offsets: np.ndarray  # int64 [rows]: where each original begins in the flat originals
    changed: np.ndarray  # uint8 [rows]: BITS of the operators that changed it

    @classmethod
    def of(cls, tokens: Tokenised, segment: int, starts: np.ndarray | None = None,
           lengths: np.ndarray | None = None) -> Draft:
        """A window of each text: `lengths` words from word `starts` on; without them the whole text."""
        text = tokens.segments[segment]
        starts = np.zeros(len(text), np.int64) if starts is None else starts
        lengths = text.lengths if lengths is None else lengths
        offsets = text.offsets[:-1]
        place = runs(offsets + starts, lengths)
        tags = None if tokens.tags is None else tokens.tags[segment]
        changed = np.where(lengths < text.lengths, np.uint8(BITS["ngram"]), np.uint8(0))
        return cls(tokens.lexicon, text.flat.take(place), place, tags, starts, lengths, offsets, changed)

    @cached_property
    def row(self) -> np.ndarray:
        """int32 [total]: whose word it is."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)

    def bits(self, keys: np.ndarray) -> np.ndarray:
        """64 bits for each word, uint64 [total]; `uniforms` gives the numbers that they make."""
        return bits_along(keys, self.starts, self.lengths)

    def uniforms(self, keys: np.ndarray, at: np.ndarray) -> np.ndarray:
        """One uniform for each of some words: at [n] -> float64 [n] in [0, 1)."""
        row = self.row.take(at)
        return uniforms(keys.take(row), self.place.take(at) - self.offsets.take(row))

    def put(self, at: np.ndarray, words: np.ndarray | int, operator: str) -> None:
        """Write words at places of the flat text; rows in which a word is now another one are marked."""
        other = at[self.words.take(at) != words]
        self.words[at] = words
        self.changed[self.row.take(other)] |= BITS[operator]

    def rows(self, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some rows in their order [n] -> their words and offsets."""
        kept = np.zeros(len(self.lengths), bool)
        kept[keep] = True
        words = self.words.take(np.flatnonzero(np.repeat(kept, self.lengths)))
        return words, as_offsets(self.lengths.take(keep))


class WordOperator(Operator):
    """An operator that changes words of single texts; of a pair it changes, copy by copy in turn, the first text,
    the second, both (Tang et al. 2019, section 3.3)."""

    def make(self, tokens: Tokenised, copy: int, where: Round) -> pa.Table:
        active = active_segments(len(tokens.segments), copy)
        drafts = [
            self.edit(tokens, segment, copy, where) if segment in active else Draft.of(tokens, segment)
            for segment in range(len(tokens.segments))
        ]
        return made_rows(tokens, drafts, copy, where)

    @abstractmethod
    def edit(self, tokens: Tokenised, segment: int, copy: int, where: Round) -> Draft:
        """The changed texts of one segment."""


def active_segments(segments: int, copy: int) -> tuple[int, ...]:
    """Which texts a copy changes: of a pair (0,), (1,), (0, 1), and again."""
    return (0,) if segments == 1 else ((0,), (1,), (0, 1))[copy % 3]


def draw(tokens: Tokenised, stream: str, segment: int, copy: int, where: Round) -> np.ndarray:
    """The keys of a stream of random numbers for each row: uint64 [rows]."""
    return row_keys(where.seed, f"{stream}/{segment}/{where.index}", tokens.ids, copy)


def made_rows(tokens: Tokenised, drafts: list[Draft], copy: int, where: Round) -> pa.Table:
    """Drafts of all segments -> a table of schema TRANSFER. Rows in which nothing changed are left out."""
    bits = reduce(np.bitwise_or, (draft.changed for draft in drafts))
    keep = np.flatnonzero(bits)
    texts = [tokens.lexicon.join(*draft.rows(keep)) for draft in drafts]
    n = len(texts[0])
    text_b = texts[1] if len(texts) == 2 else None
    return pa.Table.from_arrays([
        row_ids(texts[0], text_b),
        texts[0],
        pa.nulls(n, pa.string()) if text_b is None else text_b,
        pa.nulls(n, pa.float64()),
        as_ids(tokens.ids.take(keep, axis=0)),
        LINEAGE.take(pa.array(bits.take(keep))),
        pa.repeat(pa.scalar(copy, pa.int32()), n),
        pa.repeat(pa.scalar(where.index, pa.int32()), n),
    ], schema=TRANSFER)


def check(operator: str, probabilities: dict[str, object], counts: dict[str, object]) -> None:
    """Probabilities lie in [0, 1], counts are whole and at least 1. Raises UserError with every fault."""
    faults = [f"{operator}: {name} = {value!r}; allowed: a number from 0 to 1"
              for name, value in probabilities.items() if not (_is_number(value) and 0 <= value <= 1)]
    faults += [f"{operator}: {name} = {value!r}; allowed: a whole number from 1 on"
               for name, value in counts.items() if not (type(value) is int and value >= 1)]
    if faults:
        raise UserError(faults)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
