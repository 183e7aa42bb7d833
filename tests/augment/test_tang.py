"""Tang et al. 2019: one uniform for both bands, then the n-gram; presets; the cycle over pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kdpipe.augment._tokens import Tokenised
from kdpipe.augment.tang import Tang
from kdpipe.draws import row_keys, uniforms
from kdpipe.errors import UserError
from kdpipe.types import MASK, Round


def fitted(tokens: Tokenised, **arguments) -> Tang:
    operator = Tang(**arguments)
    operator.fit(tokens)
    return operator


def by_the_book(operator: Tang, tokens: Tokenised, row: int, copy: int, where: Round) -> str:
    """The paper's procedure, word by word, in the order of the paper: bands first, then the n-gram."""
    text = tokens.slice(row, row + 1)
    words = [tokens.lexicon.words[int(w)].as_py() for w in text.segments[0].flat]
    tags = [tokens.lexicon.tags[t] for t in text.tags[0]]
    key, gate, again = (np.repeat(row_keys(where.seed, f"{name}/0/{where.index}", text.ids, copy), len(words))
                        for name in ("tang", "tang/ngram", "tang/word"))
    made = []
    for i, (word, tag) in enumerate(zip(words, tags, strict=True)):
        x = uniforms(key[:1], i)[0]
        if x < operator.p_mask:
            made.append(MASK)
        elif x < operator.p_mask + operator.p_pos:
            law = operator.unigrams.law[tag]
            pool = [w for w in sorted(law) for _ in range(law[w])]
            drawn = pool[int(uniforms(again[:1], i)[0] * len(pool))]
            made.append(tokens.lexicon.words[drawn].as_py())
        else:
            made.append(word)
    if uniforms(gate[:1], 0)[0] < operator.p_ng:
        n = min(1 + int(uniforms(gate[:1], 1)[0] * operator.max_n), len(made))
        start = int(uniforms(gate[:1], 2)[0] * (len(made) - n + 1))
        made = made[start:start + n]
    return " ".join(made)


@pytest.mark.parametrize("arguments", [{}, {"p_mask": 0.3, "p_pos": 0.7, "p_ng": 0.9, "max_n": 3}, {"p_ng": 0.0}])
def test_whole_tables_are_made_as_by_the_book(many, arguments):
    operator, where = fitted(many, **arguments), Round(seed=11)
    part = many.slice(100, 300)
    before = part.texts()[0].to_pylist()
    expected = [by_the_book(operator, part, row, 4, where) for row in range(len(part))]
    made = operator.make(part, 4, where)["text_a"].to_pylist()
    assert made == [new for new, old in zip(expected, before, strict=True) if new != old]


def test_bands_do_not_overlap(many):
    """Every word falls into one of the two bands: nothing is left as it was but by a swap with itself."""
    made = fitted(many, p_mask=0.4, p_pos=0.6, p_ng=0.0).make(many, 0, Round(seed=2))
    masked = sum(text.split().count(MASK) for text in made["text_a"].to_pylist())
    assert binomtest(masked, int(many.n_words.sum()), 0.4).pvalue > 1e-3


def test_rates_of_the_paper(many):
    """Mask 0.1 of the words, swap 0.1 (seen on the last word, whose tag has 4,000 words), n-gram 0.25 of the rows."""
    tables = [fitted(many, p_ng=0.0).make(many, copy, Round(seed=9)) for copy in range(3)]
    words = [text.split() for table in tables for text in table["text_a"].to_pylist()]
    n = 3 * len(many)
    assert binomtest(sum(w.count(MASK) for w in words), 11 * n, 0.1).pvalue > 1e-3
    last = dict(zip(map(bytes, many.ids), (t.split()[-1] for t in many.texts()[0].to_pylist()), strict=True))
    swapped = sum(text.split()[-1] not in (MASK, last[source]) for table in tables
                  for text, source in zip(table["text_a"].to_pylist(), table["source"].to_pylist(), strict=True))
    assert binomtest(swapped, n, 0.1).pvalue > 1e-3
    cut = fitted(many).make(many, 0, Round(seed=9))["operator"].to_pylist()
    assert binomtest(sum("ngram" in name for name in cut), len(many), 0.25).pvalue > 1e-3


def test_lineage_names_what_can_be_seen(many):
    """A row is named after an operator where its words differ, within the window that is left."""
    before = {bytes(i): t.split() for i, t in zip(many.ids, many.texts()[0].to_pylist(), strict=True)}
    for row in fitted(many).make(many, 0, Round()).to_pylist():
        old, new, names = before[row["source"]], row["text_a"].split(), row["operator"].split("+")
        assert ("mask" in names) == (MASK in new)
        assert ("ngram" in names) == (len(new) < len(old))
        if "pos_swap" not in names:
            assert any(all(n in (o, MASK) for o, n in zip(old[i:], new, strict=False))
                       for i in range(len(old) - len(new) + 1))


def test_pairs_go_round_first_second_both(by_hand):
    tokens = by_hand(["a b", "c d"], ["e f", "g h"], tags=[["X X"] * 2, ["X X"] * 2])
    operator = fitted(tokens, p_mask=1.0, p_pos=0.0, p_ng=0.0)
    both = "[MASK] [MASK]"
    for copy, first, second in [(0, [both] * 2, ["e f", "g h"]), (1, ["a b", "c d"], [both] * 2),
                                (2, [both] * 2, [both] * 2), (3, [both] * 2, ["e f", "g h"])]:
        made = operator.make(tokens, copy, Round())
        assert (made["text_a"].to_pylist(), made["text_b"].to_pylist()) == (first, second)


def test_the_texts_of_a_pair_are_drawn_apart(by_hand):
    text = " ".join("abcdefghijklmnopqrstuvwxyz")
    tokens = by_hand([text], [text])
    made = fitted(tokens, p_mask=0.5, p_pos=0.0).make(tokens, 2, Round())
    assert made["text_a"] != made["text_b"]


def test_presets():
    assert Tang().settings() == Tang(preset="tang2019").settings() == {
        "preset": "tang2019", "p_mask": 0.1, "p_pos": 0.1, "p_ng": 0.25, "max_n": 5, "copies": 20, "target_rows": None}
    assert Tang(preset="tang_lin_tsmp").settings() == {
        "preset": "tang_lin_tsmp", "p_mask": 0.1, "p_pos": 0.1, "p_ng": 0.0, "max_n": 5, "copies": None,
        "target_rows": 800_000}
    assert Tang(preset=None).settings() | {"preset": "tang2019"} == Tang().settings()


def test_what_is_given_beats_the_preset():
    operator = Tang(preset="tang_lin_tsmp", p_ng=0.5, copies=3, target_rows=10)
    assert (operator.p_ng, operator.copies, operator.target_rows) == (0.5, 3, 10)
    assert Tang(p_mask=0).p_mask == 0.0


def test_no_swap_needs_no_tags(by_hand):
    operator = fitted(by_hand(["a b"]), p_pos=0.0)
    assert not operator.needs_tags and Tang.needs_tags is False and Tang().needs_tags


@pytest.mark.parametrize("arguments, message", [
    ({"preset": "tang2091"}, "no preset 'tang2091'; did you mean 'tang2019'"),
    ({"p_mask": 0.6, "p_pos": 0.6}, r"p_mask \+ p_pos = 1.2; allowed: at most 1"),
    ({"p_ng": -1}, "p_ng = -1; allowed: a number from 0 to 1"),
    ({"copies": 0}, "copies = 0; allowed: a whole number from 1 on"),
    ({"max_n": 0}, "max_n = 0"),
    ({"target_rows": 0}, "target_rows = 0"),
    ({"p_mask": "a"}, "p_mask = 'a'"),
])
def test_faults(arguments, message):
    with pytest.raises(UserError, match=message):
        Tang(**arguments)


TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "ü", "👍", "שלום", "\x00"]), max_size=9).map(" ".join),
                 min_size=1, max_size=12, unique=True)


@settings(max_examples=40)
@given(TEXTS, st.integers(0, 5), st.integers(0, 2**63), st.floats(0, 1), st.data())
def test_any_order_and_any_shard_make_the_same_rows(by_hand, texts, copy, seed, p, data):
    tokens = by_hand(texts, tags=[["T " * len(t.split()) for t in texts]])
    operator, where = fitted(tokens, p_mask=p / 2, p_pos=p / 2, p_ng=p), Round(seed=seed)
    whole = operator.make(tokens, copy, where)
    order = np.array(data.draw(st.permutations(range(len(texts)))))
    shuffled = operator.make(tokens.take(order), copy, where)
    assert sorted(map(str, whole.to_pylist())) == sorted(map(str, shuffled.to_pylist()))
    cut = data.draw(st.integers(0, len(texts)))
    parts = [operator.make(tokens.slice(*ends), copy, where) for ends in ((0, cut), (cut, len(texts)))]
    assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()


@settings(max_examples=40)
@given(TEXTS, st.integers(0, 5))
def test_no_made_row_is_empty_or_its_own_source(by_hand, texts, copy):
    tokens = by_hand(texts, tags=[["T " * len(t.split()) for t in texts]])
    for row in fitted(tokens, p_mask=0.3, p_pos=0.3, p_ng=0.5).make(tokens, copy, Round()).to_pylist():
        assert row["text_a"] and row["id"] != row["source"] and row["operator"]
