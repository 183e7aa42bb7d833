"""POS swap: tags kept, the unigram law, parity with NLTK's counts."""

import numpy as np
import pytest
from nltk import ConditionalFreqDist
from scipy.stats import binomtest, chisquare

from kdpipe.augment.pos_swap import PosSwap, Unigrams
from kdpipe.types import Round


def fitted(tokens, p: float = 0.1) -> PosSwap:
    operator = PosSwap(p=p)
    operator.fit(tokens)
    return operator


def test_a_worked_example(by_hand):
    """Each tag has one word but N: dogs and cats can only trade places, "the" and "!" stay."""
    tokens = by_hand(["the dog !", "the cat !"], tags=[["D N X", "D N X"]])
    made = [fitted(tokens, 1.0).make(tokens, copy, Round()) for copy in range(20)]
    assert {t for table in made for t in table["text_a"].to_pylist()} == {"the cat !", "the dog !"}
    assert {o for table in made for o in table["operator"].to_pylist()} == {"pos_swap"}


def test_the_law_is_nltks_count_of_the_words_under_each_tag(many):
    words, tags = many.lexicon.words.to_pylist(), many.lexicon.tags
    pairs = [(tags[t], words[w]) for t, w in zip(many.tags[0].tolist(), many.segments[0].flat.tolist(), strict=True)]
    expected = ConditionalFreqDist(pairs)
    law = Unigrams(many).law
    assert {tag: {words[w]: n for w, n in law[tag].items()} for tag in law} == {t: dict(expected[t]) for t in expected}


def test_swapped_words_have_the_same_tag(many):
    bears = {}
    for word, tag in zip(many.segments[0].flat, many.tags[0], strict=True):
        bears.setdefault(many.lexicon.words[int(word)].as_py(), many.lexicon.tags[tag])
    made = fitted(many, 1.0).make(many, 0, Round())
    before = {tuple(i): t.split() for i, t in zip(many.ids.tolist(), many.texts()[0].to_pylist(), strict=True)}
    sources = np.frombuffer(b"".join(made["source"].to_pylist()), np.uint64).reshape(-1, 2).tolist()
    for source, text in zip(sources, made["text_a"].to_pylist(), strict=True):
        assert [bears[w] for w in text.split()] == [bears[w] for w in before[tuple(source)]]


def test_words_are_drawn_by_the_unigram_law(many):
    law = Unigrams(many).law
    made = " ".join(fitted(many, 1.0).make(many, 0, Round(seed=3))["text_a"].to_pylist()).split()
    for tag in ("N", "V", "D"):
        words = {many.lexicon.words[w].as_py(): n / law[tag].N() for w, n in law[tag].items()}
        seen = np.array([made.count(word) for word in words])
        assert chisquare(seen, np.array(list(words.values())) * seen.sum()).pvalue > 1e-3


def test_one_word_in_ten_is_drawn_anew(many):
    """Word r17 has its own tag R with 4,000 words: a draw there is a change but once in 4,000."""
    made = fitted(many).make(many, 0, Round(seed=1))
    before = dict(zip(map(tuple, many.ids.tolist()), many.texts()[0].to_pylist(), strict=True))
    sources = np.frombuffer(b"".join(made["source"].to_pylist()), np.uint64).reshape(-1, 2).tolist()
    swapped = sum(t.split()[-1] != before[tuple(s)].split()[-1]
                  for s, t in zip(sources, made["text_a"].to_pylist(), strict=True))
    assert binomtest(swapped, len(many), 0.1).pvalue > 1e-3


def test_pairs_pool_both_texts(by_hand):
    tokens = by_hand(["dog"], ["cat"], tags=[["N"], ["N"]])
    made = {t for copy in range(10) for t in fitted(tokens, 1.0).make(tokens, 3 * copy, Round())["text_a"].to_pylist()}
    assert made == {"cat"}


def test_a_tag_that_training_lacks_leaves_the_word(by_hand):
    everything = by_hand(["dog", "runs"], tags=[["N", "V"]])
    operator = PosSwap(p=1.0)
    operator.fit(everything.slice(0, 1))
    assert len(operator.make(everything, 0, Round())) == 0


def test_words_of_another_table_are_refused(by_hand):
    operator = fitted(by_hand(["dog"], tags=[["N"]]), 1.0)
    with pytest.raises(ValueError, match="same Tokenised"):
        operator.make(by_hand(["cat"], tags=[["N"]]), 0, Round())
