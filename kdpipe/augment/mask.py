"""Mask: some words become "[MASK]"."""

from __future__ import annotations

import numpy as np

from kdpipe.augment._made import Draft, WordOperator, check, draw
from kdpipe.augment._tokens import Tokenised
from kdpipe.draws import below
from kdpipe.types import Round


def mask_words(draft: Draft, at: np.ndarray) -> None:
    """The words at these places become "[MASK]"."""
    draft.put(at, draft.lexicon.mask, "mask")


class Mask(WordOperator):
    """Each word becomes "[MASK]" with probability p.  Tang et al. 2019, arXiv:1903.12136, section 3.3.

    p: in [0, 1]. copies: made rows asked for each row, at least 1.
    """

    def __init__(self, p: float = 0.1, copies: int = 1):
        check("mask", {"p": p}, {"copies": copies})
        self.p = float(p)
        self.copies = copies

    def edit(self, tokens: Tokenised, segment: int, copy: int, where: Round) -> Draft:
        draft = Draft.of(tokens, segment)
        bits = draft.bits(draw(tokens, "mask", segment, copy, where))
        mask_words(draft, np.flatnonzero(below(bits, self.p)))
        return draft
