"""The augmentation of Tang et al. 2019: masking, POS swap and n-gram sampling in one pass over a text."""

from __future__ import annotations

import numpy as np

from kdpipe.augment._made import Draft, WordOperator, check, draw
from kdpipe.augment._tokens import Tokenised
from kdpipe.augment.mask import mask_words
from kdpipe.augment.ngram import windows
from kdpipe.augment.pos_swap import Unigrams, swap_words
from kdpipe.draws import below
from kdpipe.errors import UserError, did_you_mean
from kdpipe.types import Round

_PAPER = {"p_mask": 0.1, "p_pos": 0.1, "p_ng": 0.25, "max_n": 5, "copies": 20, "target_rows": None}
PRESETS = {
    "tang2019": _PAPER,  # arXiv:1903.12136, section 4.2; 20 copies for SST-2, 10 for MNLI and QQP
    "tang_lin_tsmp": _PAPER | {"p_ng": 0.0, "copies": None, "target_rows": 800_000},  # Tang and Lin 2019
}


class Tang(WordOperator):
    """One X ~ U[0, 1) for each word: X < p_mask masks it, p_mask <= X < p_mask + p_pos swaps it within its part of
    speech; then, with probability p_ng, an n-gram of the changed text stands for the whole.

    Tang et al. 2019, arXiv:1903.12136, section 3.3.  An argument that is given beats the preset's; without a preset
    the paper's numbers hold.  copies: made rows asked for each row; target_rows: distinct made rows after which to
    stop.  Raises UserError: unknown preset, a number out of its bounds, p_mask + p_pos above 1.
    """

    def __init__(self, preset: str | None = "tang2019", p_mask: float | None = None, p_pos: float | None = None,
                 p_ng: float | None = None, max_n: int | None = None, copies: int | None = None,
                 target_rows: int | None = None):
        if preset is not None and preset not in PRESETS:
            raise UserError(f"tang: no preset '{preset}'{did_you_mean(str(preset), PRESETS)}")
        given = {"p_mask": p_mask, "p_pos": p_pos, "p_ng": p_ng, "max_n": max_n, "copies": copies,
                 "target_rows": target_rows}
        chosen = PRESETS.get(preset, _PAPER) | {name: value for name, value in given.items() if value is not None}
        self.preset = preset
        self._check(chosen)
        self.p_mask, self.p_pos, self.p_ng = (float(chosen[name]) for name in ("p_mask", "p_pos", "p_ng"))
        self.max_n, self.copies, self.target_rows = chosen["max_n"], chosen["copies"], chosen["target_rows"]
        self.needs_tags = self.p_pos > 0

    @staticmethod
    def _check(chosen: dict[str, object]) -> None:
        counts = {name: chosen[name] for name in ("max_n", "copies", "target_rows") if chosen[name] is not None}
        check("tang", {name: chosen[name] for name in ("p_mask", "p_pos", "p_ng")}, counts)
        if chosen["p_mask"] + chosen["p_pos"] > 1:
            raise UserError(f"tang: p_mask + p_pos = {chosen['p_mask'] + chosen['p_pos']:g}; allowed: at most 1")

    def fit(self, tokens: Tokenised) -> None:
        self.unigrams = Unigrams(tokens) if self.needs_tags else None

    def edit(self, tokens: Tokenised, segment: int, copy: int, where: Round) -> Draft:
        """The window first, then its words: the law is the same, and words outside an n-gram need no change."""
        keys = draw(tokens, "tang/ngram", segment, copy, where)
        draft = Draft.of(tokens, segment, *windows(keys, tokens.segments[segment].lengths, self.p_ng, self.max_n))
        bits = draft.bits(draw(tokens, "tang", segment, copy, where))
        either = np.flatnonzero(below(bits, self.p_mask + self.p_pos))
        masked = below(bits.take(either), self.p_mask)
        mask_words(draft, either.take(np.flatnonzero(masked)))
        if self.needs_tags:
            swap_words(draft, either.take(np.flatnonzero(~masked)), self.unigrams,
                       draw(tokens, "tang/word", segment, copy, where))
        return draft
