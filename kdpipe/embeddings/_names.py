"""Which of a teacher's pieces make which of a student's tokens, found in the text itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST = 16  # pieces that one token may have
MARKS = ("##", "Ġ", "▁")  # how tokenizers mark that a piece continues, or begins, a word

Run = tuple[int, int, int]  # first piece, end of pieces, token


class Names:
    """Finds the student's tokens among the teacher's pieces, whatever tokenizer the student has.

    A token is the longest run of pieces without white space between them whose text, as it stands or in lower case,
    is in the vocabulary. A run that begins inside a word of the teacher's is a token that continues a word ("##ing").
    """

    def __init__(self, tokens: list[str], pieces: Sequence[str]):
        named = [(token, i) for i, token in enumerate(tokens) if i]
        self.inside = {plain(token): i for token, i in named if _continues(token)}
        self.first = {plain(token): i for token, i in sorted(named, key=lambda t: t[0] != plain(t[0]))
                      if not _continues(token)}
        self.continues = np.array([_continues(piece) for piece in pieces])

    def runs(self, text: str, ids: np.ndarray, spans: np.ndarray) -> list[Run]:
        pieces = [(k, a, b) for k, (a, b) in enumerate(spans.tolist()) if b > a]
        ends = [b for _, _, b in pieces]
        runs, k = [], 0
        while k < len(pieces):
            place, start, _ = pieces[k]
            names = self.inside if self.continues[ids[place]] else self.first
            last = k + 1
            while last < min(len(pieces), k + LONGEST) and pieces[last][1] <= ends[last - 1]:
                last += 1
            while last > k + 1 and _find(names, text[start : ends[last - 1]]) is None:
                last -= 1
            token = _find(names, text[start : ends[last - 1]])
            if token is not None:
                runs.append((place, pieces[last - 1][0] + 1, token))
            k = last
        return runs


def _find(names: dict[str, int], word: str) -> int | None:
    return names.get(word, names.get(word.lower()))


def whole(token: int, text: str, ids: np.ndarray, spans: np.ndarray) -> list[Run]:
    """All pieces of a text as one run, special tokens left out; none where the tokenizer leaves nothing of it."""
    pieces = np.flatnonzero(spans[:, 1] > spans[:, 0])
    return [(int(pieces[0]), int(pieces[-1]) + 1, token)] if len(pieces) else []


def _continues(token: str) -> bool:
    return token.startswith("##") and len(token) > 2


def plain(token: str) -> str:
    """A token without its tokenizer's mark."""
    return next((token[len(mark) :] for mark in MARKS if token.startswith(mark) and len(token) > len(mark)), token)
