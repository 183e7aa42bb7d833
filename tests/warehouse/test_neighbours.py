"""Nearest training rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from kdpipe.neighbours import nearest
from kdpipe.types import NEIGHBOURS, ROWS, row_ids


def rows(*texts, text_b=None):
    a, b = pa.array(texts, pa.string()), pa.array(text_b or [None] * len(texts), pa.string())
    return pa.table([row_ids(a, b), a, b, pa.nulls(len(a), pa.float64())], schema=ROWS)


def named(found, train, asked):
    texts = {r["id"]: (r["text_a"], r["text_b"]) for t in (train, asked) for r in t.to_pylist()}
    return {(texts[r["id"]][0], r["rank"]): texts[r["neighbour"]][0] for r in found.to_pylist()}


def test_shared_words_make_neighbours_and_the_same_text_is_the_nearest():
    train = rows("a dull film", "a bright day", "rain tomorrow", "the film was dull")
    asked = rows("a dull film", "bright and early", "nothing shared")
    found = nearest(train, asked, k=2)
    assert found.schema == NEIGHBOURS
    assert named(found, train, asked) == {
        ("a dull film", 1): "a dull film",
        ("a dull film", 2): "the film was dull",
        ("bright and early", 1): "a bright day",
    }
    assert max(found["similarity"].to_pylist()) == pytest.approx(1.0)


def test_both_texts_of_a_pair_count():
    train = rows("x", "x", text_b=["red green", "blue grey"])
    asked = rows("x", text_b=["blue sky"])
    [first, _] = nearest(train, asked).to_pylist()
    assert first["neighbour"] == train["id"][1].as_py()


def test_no_rows():
    assert nearest(rows(), rows("a")).schema == nearest(rows("a"), rows()).schema == NEIGHBOURS
    assert len(nearest(rows(), rows("a"))) == 0


WORDS = st.lists(st.sampled_from("a b c d e f".split()), min_size=1, max_size=5).map(" ".join)


@settings(max_examples=25)
@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(WORDS, min_size=1, max_size=4), st.randoms())
def test_the_order_of_the_rows_and_repetitions_do_not_matter(train, asked, random):
    shuffled = train + train[:2]
    random.shuffle(shuffled)
    assert nearest(rows(*train), rows(*asked)).equals(nearest(rows(*shuffled), rows(*asked, *asked)))


def test_similarities_are_the_largest_cosines(datasets):
    lines = (datasets / "trec" / "train.tsv").read_text("utf-8").splitlines()[1:]
    texts = list(dict.fromkeys(line.rsplit("\t", 1)[0] for line in lines))
    train, asked = texts[:900], texts[900:940]
    found = nearest(rows(*train), rows(*asked), k=5)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]").fit(train)
    cosines = (vectorizer.transform(asked) @ vectorizer.transform(train).T).toarray()
    best = dict(zip(row_ids(pa.array(asked)).to_pylist(), -np.sort(-cosines, axis=1)[:, :5], strict=True))
    for line in found.to_pylist():
        assert line["similarity"] == pytest.approx(best[line["id"]][line["rank"] - 1], abs=1e-5)
    assert len(found) == 40 * 5
