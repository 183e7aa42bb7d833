"""Texts to words to codes and back."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.augment._spacy import pipeline
from kdpipe.augment._tokens import Lexicon, Tokenised, runs, split
from kdpipe.types import MASK

WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).filter(lambda w: len(w.split()) == 1)
ROWS = st.lists(st.lists(WORD, max_size=6), min_size=1, max_size=8)


def of(rows: list[list[str]]) -> Tokenised:
    return Tokenised.of(np.zeros((len(rows), 2), np.uint64), [pa.array(rows, pa.list_(pa.string()))])


@given(ROWS)
def test_codes_join_to_the_words_with_single_spaces(rows):
    assert of(rows).texts()[0].to_pylist() == [" ".join(row) for row in rows]


@given(ROWS)
def test_codes_follow_the_words_and_not_the_order_of_rows(rows):
    table, other = of(rows).lexicon.words.to_pylist(), of(rows[::-1]).lexicon.words.to_pylist()
    assert table == other == sorted({MASK, *(w for row in rows for w in row)}, key=str.encode)


@given(ROWS, st.data())
def test_taken_and_sliced_rows_are_those_rows(rows, data):
    tokens = of(rows)
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    assert tokens.take(np.array(picked, np.int64)).texts()[0].to_pylist() == [" ".join(rows[i]) for i in picked]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    assert tokens.slice(start, stop).texts()[0].to_pylist() == [" ".join(row) for row in rows[start:stop]]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_white_space_is_what_python_takes_for_it(texts):
    assert split(pa.array(texts, pa.string()), lambda piece: [piece]).to_pylist() == [text.split() for text in texts]


def test_pieces_are_tokenised_once_each():
    asked = []

    def tokenise(piece: str) -> list[str]:
        asked.append(piece)
        return piece.split("-")

    texts = pa.chunked_array([["a-b c", "c a-b"], ["", None, " c "]])
    assert split(texts, tokenise).to_pylist() == [["a", "b", "c"], ["c", "a", "b"], [], [], ["c"]]
    assert sorted(asked) == ["a-b", "c"]


def test_runs_follow_one_another():
    assert runs(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]


def test_both_texts_of_a_pair_share_one_table(by_hand):
    tokens = by_hand(["a b", "c"], ["c c", "b"])
    assert tokens.lexicon.words.to_pylist() == [MASK, "a", "b", "c"]
    assert [s.flat.tolist() for s in tokens.segments] == [[1, 2, 3], [3, 3, 2]]
    assert tokens.n_words.tolist() == [4, 2]


def test_the_mask_is_always_there():
    lexicon = of([["z"]]).lexicon
    assert isinstance(lexicon, Lexicon) and lexicon.words[lexicon.mask].as_py() == MASK


@pytest.mark.parametrize("name, column", [("SST-2/train.tsv", 0), ("CoLA/train.tsv", 3), ("MRPC/train.tsv", 3),
                                          ("STS-B/train.tsv", 7), ("sara/train.tsv", 0), ("scicite/train.tsv", 0),
                                          ("RTE/train.tsv", 1)])
def test_words_are_those_of_spacy_on_real_text(datasets, name, column):
    lines = (datasets / name).read_bytes().decode("utf-8-sig").split("\n")
    assert_same_words([line.split("\t")[column] for line in lines[1:400] if line])


def test_words_are_those_of_spacy_on_unlabelled_text(datasets):
    with gzip.open(datasets / "unlabelled" / "sentences.txt.gz", "rt", encoding="utf-8", newline="\n") as lines:
        assert_same_words([line.rstrip("\n") for line, _ in zip(lines, range(2000), strict=False)])


def test_words_are_those_of_spacy_on_strange_text():
    assert_same_words([
        "", "  two  spaces ", "tab\tand\u3000wide", "a\x00b \x00", "👩\u200d👩\u200d👧 :-) :) : ) 8) (8",
        "مرحبا بالعالم, شكرا",
        "[MASK] it's [MASK]'s [MASK]. ([MASK]) [ MASK ]", "U.S. e.g. a.m. 10am don't can't n't 's", "x" * 5000,
        "http://a.b/c?d=e f@g.hi $5-6/7%", "¯\\(ツ)/¯ \x1cfile\x1dsep",
    ])


def assert_same_words(texts: list[str]) -> None:
    nlp = pipeline("kdpipe").nlp
    ours = pipeline("kdpipe").split(pa.array(texts)).to_pylist()
    assert ours == [[token.text for token in nlp.make_doc(text) if not token.is_space] for text in texts]
    assert sum(map(len, ours)) > 0
