"""Words by spaCy's English tokenizer: the vocabulary of a BiLSTM."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.types import MASK, Encoded, Ragged
from kdpipe.vocab import CARD, Vocabulary, _ragged, read_card, write_json

PADDING, UNKNOWN = 0, 1
FIRST = ("[PAD]", "[UNK]", MASK)  # ids 0, 1, 2; spaCy never makes one token of such a text, so no word is shadowed
MEMO = 200_000  # chunks whose ids are remembered between calls
FEW = 16  # texts up to which plain Python beats Arrow's start-up costs
LONGEST = 200  # characters; spaCy takes quadratic time on a long run of punctuation or emoji, so it gets them in pieces


class Words(Vocabulary):
    """Ids: 0 padding, 1 unknown, 2 [MASK], then words by falling count, equal counts by the alphabet.

    spaCy's tokenizer works on the stretches between white space, one by one; so each distinct stretch ("chunk") is
    tokenised once and a text is looked up chunk by chunk. White space itself is no token.
    """

    packs_pairs = False

    def __init__(self, tokens: Sequence[str], lower: bool = True):
        self._tokens, self.lower = tuple(tokens), lower
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        self._memo: dict[str, tuple[int, ...]] = {}

    @classmethod
    def build(cls, texts: _ragged.Texts, size: int = 50_000, min_count: int = 1, lower: bool = True,
              packed: bool = False) -> Words:
        """The most frequent words that occur at least min_count times; at most `size` ids, the first three included.

        The same for any order of the texts. Raises UserError for a size or a count that cannot be.
        """
        faults = [f"{name}: {value!r}; a whole number from {least} up is wanted"
                  for name, value, least in (("size", size, len(FIRST) + 1), ("min_count", min_count, 1))
                  if not isinstance(value, int) or value < least]
        if faults:
            raise UserError(faults)
        counts = _count_words(texts, lower)
        del counts[MASK]
        kept = sorted((word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word))
        return cls([*FIRST, *kept[: size - len(FIRST)]], lower)

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    def encode(self, rows: pa.Table, max_length: int) -> Encoded:
        """One segment, two where there is a text_b; each cut to its first max_length words."""
        columns = [rows["text_a"]]
        if "text_b" in rows.column_names and rows["text_b"].null_count < len(rows):
            columns.append(rows["text_b"])
        return Encoded(tuple(self._encode_column(column, max_length) for column in columns))

    def _encode_column(self, texts: pa.ChunkedArray, max_length: int) -> Ragged:
        parts = [_ragged.cut(self._encode_block(block), max_length) for block in _ragged.blocks(texts)]
        return _ragged.fill(_ragged.join(parts), UNKNOWN)

    def _encode_block(self, texts: pa.Array) -> Ragged:
        if len(texts) <= FEW:
            found = (self._look_up(text.split()) for text in texts.to_pylist())
            return _ragged.from_lists([list(chain.from_iterable(ids)) for ids in found])
        chunks = pc.utf8_split_whitespace(texts)
        coded = chunks.values.dictionary_encode()
        known = _ragged.from_lists(self._look_up(coded.dictionary.to_pylist()))
        words = _ragged.gather(known, coded.indices.to_numpy())
        return Ragged(words.flat, words.offsets[chunks.offsets.to_numpy()])

    def _look_up(self, chunks: list[str]) -> list[tuple[int, ...]]:
        found = [self._memo.get(chunk) for chunk in chunks]
        new = [i for i, ids in enumerate(found) if ids is None]
        for i, words in zip(new, split([chunks[i] for i in new], self.lower), strict=True):
            found[i] = tuple(self._ids.get(word, UNKNOWN) for word in words)
        if len(self._memo) + len(new) > MEMO:
            self._memo.clear()
        self._memo.update((chunks[i], found[i]) for i in new[:MEMO])
        return found

    def unknown(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        words = [segment.lengths for segment in encoded.segments]
        unknown = [_ragged.count(segment, segment.flat == UNKNOWN) for segment in encoded.segments]
        return np.sum(words, axis=0, dtype=np.int32), np.sum(unknown, axis=0, dtype=np.int32)

    def save(self, folder: Path) -> None:
        import spacy

        write_json(folder / CARD, {"kind": "words", "tokenizer": f"spaCy {spacy.__version__}, blank English",
                                   "lower": self.lower, "tokens": self._tokens})

    @classmethod
    def load(cls, folder: Path) -> Words:
        card = read_card(folder, "words")
        tokens = card.get("tokens")
        if not isinstance(tokens, list) or tuple(tokens[: len(FIRST)]) != FIRST or len(set(tokens)) < len(tokens):
            raise UserError(f"{folder / CARD}: broken: 'tokens' must be a list of different words that begins with "
                            f"{', '.join(FIRST)}; restore the file or train the model again")
        return cls(tokens, bool(card.get("lower", True)))


def _count_words(texts: _ragged.Texts, lower: bool) -> Counter[str]:
    chunks = _ragged.count_chunks(_ragged.blocks(texts))
    words: Counter[str] = Counter()
    for n, found in zip(chunks.values(), split(chunks, lower), strict=True):
        for word in found:
            words[word] += n
    return words


def split(chunks: Iterable[str], lower: bool) -> list[list[str]]:
    """Stretches of text without white space -> the words of each; "[MASK]" is one word wherever it stands."""
    chunks = list(chunks)
    if not chunks:
        return []
    nlp, lock = _spacy()
    with lock, nlp.memory_zone():  # the zone gives back what spaCy would otherwise remember of every new word
        return [_split(chunk, nlp.tokenizer, lower) for chunk in chunks]


def _split(chunk: str, tokenizer: Callable, lower: bool) -> list[str]:
    words = []
    for i, part in enumerate(chunk.split(MASK)):
        if i:
            words.append(MASK)
        for start in range(0, len(part), LONGEST):
            found = [token.text for token in tokenizer(part[start : start + LONGEST])]
            words += [word.lower() for word in found] if lower else found
    return words


@cache
def _spacy() -> tuple:
    import spacy

    return spacy.blank("en"), threading.Lock()  # a memory zone belongs to one thread at a time
