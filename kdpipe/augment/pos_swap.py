"""POS swap: some words become another word of the same part of speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdpipe.augment._made import Draft, WordOperator, check, draw
from kdpipe.augment._tokens import Lexicon, Tokenised
from kdpipe.draws import below, whole
from kdpipe.types import Round

if TYPE_CHECKING:
    from nltk import ConditionalFreqDist


class Unigrams:
    """How often each word of the training text bears each tag, both texts of a pair pooled; words drawn by that law.

    P(word | tag) = count(word, tag) / count(tag).  Tang et al. 2019, section 3.3.
    """

    def __init__(self, tokens: Tokenised):
        self.lexicon = tokens.lexicon
        self.law = _count(tokens)
        words, sizes = _inverse_cdf(self.law, self.lexicon)
        self._words = np.append(words, np.int32(0))  # where a tag without words would begin is a place, too
        self._sizes = np.array(sizes, np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self, tags: np.ndarray, u: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Tag codes [n], uniforms [n] -> word codes [n]; a word whose tag the training text lacks stays."""
        sizes = self._sizes.take(tags)
        drawn = self._starts.take(tags)
        drawn += whole(u, sizes)
        return np.where(sizes, self._words.take(drawn), words)


def _count(tokens: Tokenised) -> ConditionalFreqDist:
    """Counts of words within each tag, the words as codes."""
    from nltk import ConditionalFreqDist

    size = len(tokens.lexicon.words)
    pairs = np.concatenate([
        tags.astype(np.int64) * size + text.flat for tags, text in zip(tokens.tags, tokens.segments, strict=True)
    ])
    law = ConditionalFreqDist()
    for pair, count in zip(*(a.tolist() for a in np.unique(pairs, return_counts=True)), strict=True):
        tag, word = divmod(pair, size)
        law[tokens.lexicon.tags[tag]][word] = count
    return law


def _inverse_cdf(law: ConditionalFreqDist, lexicon: Lexicon) -> tuple[np.ndarray, list[int]]:
    """Each word as often as it was counted, tag after tag: u in [0, 1) times the tag's size is a place in it."""
    sizes = [law[tag].N() if tag in law else 0 for tag in lexicon.tags]
    counts = [sorted(law[tag].items()) for tag in lexicon.tags if tag in law]
    words, times = zip(*(pair for tag in counts for pair in tag), strict=True) if counts else ((), ())
    return np.repeat(np.array(words, np.int32), np.array(times, np.int64)), sizes


def swap_words(draft: Draft, at: np.ndarray, unigrams: Unigrams, keys: np.ndarray) -> None:
    """The words at these places [n] are drawn anew within their tags, by the rows' keys; some come out the same."""
    if draft.lexicon is not unigrams.lexicon:
        raise ValueError("fit and make must be given slices of the same Tokenised: word codes differ between two")
    tags = draft.tags.take(draft.place.take(at))
    draft.put(at, unigrams.draw(tags, draft.uniforms(keys, at), draft.words.take(at)), "pos_swap")


class PosSwap(WordOperator):
    """Each word is drawn anew, with probability p, from the words of its part of speech.

    Tang et al. 2019, arXiv:1903.12136, section 3.3.  p: in [0, 1]. copies: made rows asked for each row, at least 1.
    """

    needs_tags = True

    def __init__(self, p: float = 0.1, copies: int = 1):
        check("pos_swap", {"p": p}, {"copies": copies})
        self.p = float(p)
        self.copies = copies

    def fit(self, tokens: Tokenised) -> None:
        self.unigrams = Unigrams(tokens)

    def edit(self, tokens: Tokenised, segment: int, copy: int, where: Round) -> Draft:
        draft = Draft.of(tokens, segment)
        bits = draft.bits(draw(tokens, "pos_swap", segment, copy, where))
        at = np.flatnonzero(below(bits, self.p))
        swap_words(draft, at, self.unigrams, draw(tokens, "pos_swap/word", segment, copy, where))
        return draft
