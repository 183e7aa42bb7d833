"""N-gram sampling: some texts become a few words cut out of them."""

from __future__ import annotations

import numpy as np

from kdpipe.augment._made import Draft, WordOperator, check, draw
from kdpipe.augment._tokens import Tokenised
from kdpipe.draws import uniforms, whole
from kdpipe.types import Round


def windows(keys: np.ndarray, lengths: np.ndarray, p: float, max_n: int) -> tuple[np.ndarray, np.ndarray]:
    """Row keys [rows], lengths in words [rows] -> where each row's window starts and how long it is.

    With probability p an n-gram: n uniform on 1 .. max_n, at most the row's length; its start uniform over the
    length - n + 1 windows, the last one included. Otherwise the whole text.
    """
    starts, kept = np.zeros(len(lengths), np.int64), lengths.copy()
    rows = np.flatnonzero(uniforms(keys, 0) < p)
    n = np.minimum(1 + whole(uniforms(keys[rows], 1), max_n), lengths[rows])
    starts[rows] = whole(uniforms(keys[rows], 2), lengths[rows] - n + 1)
    kept[rows] = n
    return starts, kept


class NGram(WordOperator):
    """A text is replaced, with probability p, by a random n-gram of it.

    Tang et al. 2019, arXiv:1903.12136, section 3.3.  p: in [0, 1]. max_n: longest n-gram, in words.
    copies: made rows asked for each row, at least 1.
    """

    def __init__(self, p: float = 0.25, max_n: int = 5, copies: int = 1):
        check("ngram", {"p": p}, {"max_n": max_n, "copies": copies})
        self.p = float(p)
        self.max_n = max_n
        self.copies = copies

    def edit(self, tokens: Tokenised, segment: int, copy: int, where: Round) -> Draft:
        keys = draw(tokens, "ngram", segment, copy, where)
        return Draft.of(tokens, segment, *windows(keys, tokens.segments[segment].lengths, self.p, self.max_n))
