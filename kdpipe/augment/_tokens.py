"""Rows as words: every text a run of codes into one table of words, tagged or not, tokenised once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.types import MASK, Ragged

NO_TAG = ""  # no word bears it


@dataclass(frozen=True)
class Lexicon:
    """All words and all tags that may stand in a made row; a code is a place in one of the two."""

    words: pa.StringArray  # sorted by bytes, so that codes follow the words and not the order of the rows
    tags: tuple[str, ...] = ()

    @cached_property
    def mask(self) -> int:
        """The code of "[MASK]"."""
        return pc.index(self.words, MASK).as_py()

    @cached_property
    def _forms(self) -> pa.StringArray:
        """[2 V]: each word with the space before it, then each word as it begins a text."""
        return pa.concat_arrays([pc.binary_join_element_wise("", self.words, " "), self.words])

    def join(self, words: np.ndarray, offsets: np.ndarray) -> pa.StringArray:
        """Runs of word codes -> texts, words joined by one space.

        Taken one after the other, the forms already are the texts: only the places where texts begin are missing.
        """
        forms = words.copy()
        forms[offsets[:-1][np.diff(offsets) > 0]] += len(self.words)
        taken = pc.take(self._forms, pa.array(forms), boundscheck=False)
        starts = np.frombuffer(taken.buffers()[1], np.int32)[taken.offset:taken.offset + len(taken) + 1]
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(starts[offsets]), taken.buffers()[2])


@dataclass(frozen=True)
class Tokenised:
    """Rows of one text or of a pair of texts. `ids` are 128-bit row ids as two numbers each."""

    ids: np.ndarray  # uint64 [rows, 2]
    segments: tuple[Ragged, ...]  # word codes of text_a and, for pairs, text_b
    lexicon: Lexicon
    tags: tuple[np.ndarray, ...] | None = None  # tag codes, int32, aligned with each segment's flat

    @classmethod
    def of(cls, ids: np.ndarray, words: Sequence[pa.ListArray],
           tags: Sequence[pa.ListArray] | None = None) -> Tokenised:
        """Words (and tags) of each text, one list array for each segment -> codes."""
        segments, table = _encode(words, also=MASK)
        if tags is None:
            return cls(ids, segments, Lexicon(table))
        tagged, tag_table = _encode(tags, also=NO_TAG)
        return cls(ids, segments, Lexicon(table, tuple(tag_table.to_pylist())), tuple(t.flat for t in tagged))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_words(self) -> np.ndarray:
        """Words of each row, both texts together: int64 [rows]."""
        return sum(segment.lengths for segment in self.segments)

    def slice(self, start: int, stop: int) -> Tokenised:
        """Rows start .. stop - 1; no word is copied."""
        cuts = [slice(s.offsets[start], s.offsets[stop]) for s in self.segments]
        segments = tuple(
            Ragged(s.flat[cut], s.offsets[start:stop + 1] - s.offsets[start])
            for s, cut in zip(self.segments, cuts, strict=True)
        )
        tags = None if self.tags is None else tuple(t[cut] for t, cut in zip(self.tags, cuts, strict=True))
        return replace(self, ids=self.ids[start:stop], segments=segments, tags=tags)

    def take(self, rows: np.ndarray) -> Tokenised:
        """Rows in another order, or some of them, or some more than once."""
        places = [runs(s.offsets[:-1][rows], s.lengths[rows]) for s in self.segments]
        segments = tuple(
            Ragged(s.flat[place], as_offsets(s.lengths[rows])) for s, place in zip(self.segments, places, strict=True)
        )
        tags = None if self.tags is None else tuple(t[place] for t, place in zip(self.tags, places, strict=True))
        return replace(self, ids=self.ids[rows], segments=segments, tags=tags)

    def texts(self) -> tuple[pa.StringArray, ...]:
        """Each segment's texts with their words joined by one space."""
        return tuple(self.lexicon.join(s.flat, s.offsets) for s in self.segments)


def split(texts: pa.Array | pa.ChunkedArray, tokenise: Callable[[str], Iterable[str]]) -> pa.ListArray:
    """Texts -> the words of each. Only distinct pieces between white space are tokenised, each once.

    Holds for tokenisers that, as spaCy's, look at one piece at a time. White space itself makes no word.
    """
    pieces = pc.utf8_split_whitespace(texts)
    pieces = pieces.combine_chunks() if isinstance(pieces, pa.ChunkedArray) else pieces
    coded = pieces.flatten().dictionary_encode()
    words = [list(tokenise(piece)) if piece else [] for piece in coded.dictionary.to_pylist()]
    sizes = np.fromiter(map(len, words), np.int64, len(words))
    codes = coded.indices.to_numpy(zero_copy_only=False)
    place = runs(as_offsets(sizes)[:-1][codes], sizes[codes])
    flat = pa.array(chain.from_iterable(words), pa.string()).take(pa.array(place))
    first_piece = as_offsets(pc.list_value_length(pieces).fill_null(0).to_numpy())
    offsets = as_offsets(sizes[codes])[first_piece]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts [n], lengths [n] -> the places starts[0], starts[0] + 1, ... of all runs, one run after the other."""
    ends = np.cumsum(lengths)
    places = np.repeat(starts - (ends - lengths), lengths)
    places += np.arange(len(places))
    return places


def as_offsets(lengths: np.ndarray) -> np.ndarray:
    """Lengths [n] -> where each run begins and the last one ends: int64 [n + 1]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _encode(lists: Sequence[pa.ListArray], also: str) -> tuple[tuple[Ragged, ...], pa.StringArray]:
    """Lists of strings -> codes into one table of the distinct strings and `also`, sorted by bytes."""
    flats = [part.flatten() for part in lists]
    coded = pa.chunked_array([*flats, pa.array([also])], pa.string()).dictionary_encode().combine_chunks()
    order = pc.sort_indices(coded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes = np.split(rank[coded.indices], np.cumsum([len(flat) for flat in flats]))
    ragged = tuple(Ragged(flat, as_offsets(pc.list_value_length(part).fill_null(0).to_numpy()))
                   for flat, part in zip(codes, lists, strict=False))
    return ragged, coded.dictionary.take(order)
