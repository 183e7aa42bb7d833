"""Texts said a little differently: what a model that has understood them should not mind, and what it should.

A typo is one inner letter of a word of four letters or more swapped with the next, left out, joined by a neighbour on
the keyboard or replaced by one: the four kinds of Pruthi, Dhingra, Lipton 2019 (ACL, P19-1561), drawn here and not
searched for the worst. Typos, cases and neutral additions are what CheckList (Ribeiro, Wu, Guestrin, Singh 2020, ACL,
2020.acl-main.442) calls invariance tests; of a negation nothing is expected, one looks at who answers otherwise. The
additions are those of the stress tests of Naik et al. 2018 (COLING, C18-1198). What is drawn for a row depends on its
id alone (kdpipe.draws). Of a pair, both texts get typos and cases, and the second the additions and the negation.

A rule that is changed gets a new name: answers to the old one are kept under its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from kdpipe.draws import row_keys, uniforms, whole
from kdpipe.types import row_ids

SEED = 0
_WORD = re.compile(r"[^\W\d_]{4,}")  # first and last letter stay, so that people still read it without effort
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_AUXILIARY = "is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must"
_SHORT = r"\b(?:it|he|she|that|there|what|who)\s?['’]s|['’](?:re|m|ve|ll)"
_NEGATED = re.compile(
    rf"\b({_AUXILIARY}|ca|wo|sha)(?:\s?n['’]t|\s+not)\b|\b(can)not\b|(['’](?:s|re|m|ve|ll|d))\s+not\b", re.IGNORECASE)
_PLAIN = re.compile(rf"(\b(?:{_AUXILIARY})|{_SHORT})\b", re.IGNORECASE)
_ASKED = re.compile(rf"(\b(?:{_AUXILIARY})\s+(?:i|you|he|she|it|we|they|this|that|there))\s+not\b", re.IGNORECASE)
_WHOLE = {"ca": "can", "wo": "will", "sha": "shall"}

Change = Callable[[str, np.uint64], str]  # a text and the key of its draws


@dataclass(frozen=True)
class Perturbation:
    """change: what is done to a text. keeps: whether its label stays. every: to both texts of a pair, or the second."""

    change: Change
    says: str
    keeps: bool = True
    every: bool = True


def perturbed(rows: pa.Table, name: str) -> pa.Table:
    """Rows with id, text_a, text_b -> those that the perturbation changes, with the changed texts and their new ids.

    id: of the row as it was; perturbed_id: of the row as it is. A text that comes to nothing else is left out.
    """
    how = PERTURBATIONS[name]
    ids = np.frombuffer(b"".join(rows["id"].to_pylist()), np.uint64).reshape(-1, 2)
    texts = {side: rows[side].to_pylist() for side in ("text_a", "text_b")}
    changed = {side: list(its) for side, its in texts.items()}
    for side, its in texts.items():
        keys = row_keys(SEED, f"{name}/{side}", ids, 0)
        for i, (text, second) in enumerate(zip(its, texts["text_b"], strict=True)):
            if text is not None and (how.every or side == "text_b" or second is None):
                changed[side][i] = how.change(text, keys[i])
    other = np.array([changed["text_a"][i] != a or changed["text_b"][i] != b
                      for i, (a, b) in enumerate(zip(*texts.values(), strict=True))], bool)
    a, b = (pa.array(changed[side], pa.string()) for side in ("text_a", "text_b"))
    return pa.table({"id": rows["id"], "perturbed_id": row_ids(a, b), "text_a": a, "text_b": b}).filter(pa.array(other))


# ---- typos


def typos(text: str, key: np.uint64, rate: float) -> str:
    """One typo in each word of four letters or more with probability `rate`."""
    drawn = _draws(key, len(words := list(_WORD.finditer(text))))
    return _typed(text, [(word, u[1:]) for word, u in zip(words, drawn, strict=True) if u[0] < rate])


def typo(text: str, key: np.uint64) -> str:
    """One typo in one of the words of four letters or more."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    u = _draws(key, 1)[0]
    return _typed(text, [(words[int(whole(u[:1], len(words))[0])], u[1:])])


def _draws(key: np.uint64, words: int) -> np.ndarray:
    """Four numbers for each word, [words, 4]: whether, which kind, where, which letter."""
    return uniforms(np.full(4 * words, key), np.arange(4 * words)).reshape(-1, 4)


def _typed(text: str, where: list[tuple[re.Match, np.ndarray]]) -> str:
    for word, u in reversed(where):
        text = text[:word.start()] + mistyped(word[0], *u) + text[word.end():]
    return text


def mistyped(word: str, kind: float, place: float, letter: float) -> str:
    """The word with one typo, by three numbers in [0, 1). Where a swap or a key would change nothing, a letter goes."""
    i = 1 + int(place * (len(word) - 2))
    near = _NEAR.get(word[i].lower(), "")
    key = near[int(letter * len(near))] if near else ""
    key = key.upper() if word[i].isupper() else key
    if kind < 0.25 and i < len(word) - 2 and word[i] != word[i + 1]:
        return word[:i] + word[i + 1] + word[i] + word[i + 2:]
    if 0.5 <= kind < 0.75 and key:
        return word[:i] + key + word[i:]
    if kind >= 0.75 and key:
        return word[:i] + key + word[i + 1:]
    return word[:i] + word[i + 1:]


def _near() -> dict[str, str]:
    """Letters whose keys touch each other: those beside it, and the two nearest of the rows above and below."""
    at = {letter: (x + shift, y) for y, (row, shift) in enumerate(zip(_KEYBOARD, (0, 0.25, 0.75), strict=True))
          for x, letter in enumerate(row)}
    return {one: "".join(other for other, (x, y) in at.items()
                         if other != one and abs(y - at[one][1]) <= 1 and abs(x - at[one][0]) <= 1) for one in at}


_NEAR = _near()


# ---- the others


def title(text: str) -> str:
    return re.sub(r"(?<![\w'’])\w", lambda letter: letter[0].upper(), text)


def added(text: str, words: str) -> str:
    """The words before what ends the text: "a fine film ." -> "a fine film and true is true ."."""
    end = re.search(r"[\s.!?]*$", text).start()
    return f"{text[:end]} {words}{text[end:]}"


def negation(text: str) -> str:
    """Without the "not" or "n't" of its first negated auxiliary; else with "not" after its first auxiliary, if any."""
    if asked := _ASKED.search(text):  # "Is it not fine?"
        return text[:asked.end(1)] + text[asked.end():]
    if found := _NEGATED.search(text):
        said = found[1] or found[2] or found[3]
        whole = _WHOLE.get(said.lower(), said)
        whole = whole.upper() if said.isupper() else whole[0].upper() + whole[1:] if said[0].isupper() else whole
        return text[:found.start()] + whole + text[found.end():]
    return _PLAIN.sub(r"\1 not", text, count=1)


def _of_text(change: Callable[[str], str]) -> Change:
    return lambda text, key: change(text)


PERTURBATIONS: dict[str, Perturbation] = {
    "typo": Perturbation(typo, "one typo"),
    "typos_10": Perturbation(partial(typos, rate=0.1), "a typo in a tenth of the words of four letters or more"),
    "typos_30": Perturbation(partial(typos, rate=0.3), "a typo in three tenths of them"),
    "lower": Perturbation(_of_text(str.lower), "lower case"),
    "upper": Perturbation(_of_text(str.upper), "upper case"),
    "title": Perturbation(_of_text(title), "each word's first letter in upper case"),
    "filler": Perturbation(_of_text(partial(added, words="and true is true")), "'and true is true' at the end",
                           every=False),
    "negated_filler": Perturbation(_of_text(partial(added, words="and false is not true")),
                                   "'and false is not true' at the end", every=False),
    "negation": Perturbation(_of_text(negation), "its first auxiliary's 'not' taken away, or put in", keeps=False,
                             every=False),
}
