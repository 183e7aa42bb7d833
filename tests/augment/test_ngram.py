"""N-gram windows: bounds, law, parity with NLTK."""

import numpy as np
import pytest
from nltk import ngrams
from scipy.stats import binomtest, chisquare

from kdpipe.augment.ngram import NGram, windows
from kdpipe.draws import row_keys
from kdpipe.errors import UserError
from kdpipe.types import Round

IDS = np.arange(40_000, dtype=np.uint64)
KEYS = row_keys(0, "test", IDS, 0)


def test_every_window_of_a_text_can_be_drawn_and_nothing_else(by_hand):
    """The last window is in it, and nltk.ngrams lists the same ones."""
    text = "a b c d e f g"
    tokens = by_hand([text])
    made = {t for copy in range(600) for t in NGram(p=1.0).make(tokens, copy, Round())["text_a"].to_pylist()}
    assert made == {" ".join(gram) for n in range(1, 6) for gram in ngrams(text.split(), n)}


def test_n_and_start_are_uniform():
    """A text of 7 words: n = 1 .. 5 alike; of the 5 trigrams each alike."""
    starts, kept = windows(KEYS, np.full(len(KEYS), 7), 1.0, 5)
    assert chisquare(np.bincount(kept, minlength=6)[1:]).pvalue > 1e-3
    assert chisquare(np.bincount(starts[kept == 3], minlength=5)).pvalue > 1e-3


def test_n_is_clipped_to_the_length():
    """Two words: n = 1 once in five (2 windows), else 2, which is the whole text."""
    starts, kept = windows(KEYS, np.full(len(KEYS), 2), 1.0, 5)
    assert binomtest(int((kept == 1).sum()), len(KEYS), 0.2).pvalue > 1e-3
    assert (starts[kept == 2] == 0).all() and set(starts[kept == 1]) == {0, 1}


def test_a_quarter_of_the_texts_is_cut():
    starts, kept = windows(KEYS, np.full(len(KEYS), 9), 0.25, 5)
    assert binomtest(int((kept < 9).sum()), len(KEYS), 0.25).pvalue > 1e-3
    assert (starts[kept == 9] == 0).all()


@pytest.mark.parametrize("length, max_n", [(0, 5), (1, 1), (1, 5), (3, 100)])
def test_windows_stay_inside_short_texts(length, max_n):
    starts, kept = windows(KEYS, np.full(len(KEYS), length), 1.0, max_n)
    assert (starts >= 0).all() and (starts + kept <= length).all() and (kept >= min(1, length)).all()


def test_a_text_of_one_word_makes_no_row(by_hand):
    assert len(NGram(p=1.0).make(by_hand(["alone", ""]), 0, Round())) == 0


def test_lineage(many):
    made = NGram(p=1.0, max_n=3).make(many, 0, Round())
    assert set(made["operator"].to_pylist()) == {"ngram"} and len(made) == len(many)


def test_faults_come_together():
    with pytest.raises(UserError) as e:
        NGram(p=2, max_n=0, copies=0)
    assert len(e.value.faults) == 3
