"""The word vocabulary: worked examples, spaCy's own answer on real text, hostile texts, JSON on disk."""

import json
import random
import time

import numpy as np
import pyarrow as pa
import pytest
import spacy

from kdpipe import vocab
from kdpipe.errors import UserError
from kdpipe.vocab.words import FEW, FIRST, Words

HARD = ["", " \t\n ", "👍🏽 so good 😀😀", "שלום עולם", "مرحبا بالعالم!", "a\x00b \x00", "do n't don't", "[MASK]",
        "x[MASK], [MASK][MASK]", "word " * 10_000, "a\u00a0b\u2028c\x1cd",
        "I’m :) http://a.b/c?d=e (U.S.) $5.30/kg", "\u200b", "e\u0301te"]


def column(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


def rows(*texts: str) -> pa.Table:
    return pa.table({"text_a": column(*texts), "text_b": pa.nulls(len(texts), pa.string())})


def words_of(words: Words, texts: list[str], max_length: int = 100_000) -> list[list[str]]:
    (segment,) = words.encode(rows(*texts), max_length).segments
    return [[words.tokens[i] for i in segment.flat[a:b]]
            for a, b in zip(segment.offsets[:-1], segment.offsets[1:], strict=True)]


def read(path, field: int, header: bool) -> list[str]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\n").split("\t")[field] for line in lines][header:]


@pytest.fixture(scope="module")
def real(datasets) -> list[str]:
    return [*read(datasets / "CoLA" / "train.tsv", 3, False)[:1500],
            *read(datasets / "RTE" / "train.tsv", 1, True)[:400],
            *read(datasets / "sst2-sentences" / "train.tsv", 0, True)[:1000],
            *read(datasets / "STS-B" / "train.tsv", 7, True)[-400:]]


def test_ids_go_by_count_and_then_by_the_alphabet():
    """cat 2, the 2, then "." a dog sat once each."""
    words = Words.build(column("The cat sat.", "the cat", "a dog"))
    assert list(words.tokens) == ["[PAD]", "[UNK]", "[MASK]", "cat", "the", ".", "a", "dog", "sat"]
    (segment,) = words.encode(rows("A cat, the dog"), 64).segments
    assert segment.flat.tolist() == [6, 3, 1, 4, 7]  # the comma is unknown
    assert segment.flat.dtype == np.int32 and segment.offsets.dtype == np.int64


def test_size_and_min_count_cut_the_rare_end():
    texts = column("a a a b b c")
    assert list(Words.build(texts, size=5).tokens) == [*FIRST, "a", "b"]
    assert list(Words.build(texts, min_count=3).tokens) == [*FIRST, "a"]


def test_case_is_kept_where_asked():
    assert list(Words.build(column("The the THE"), lower=False).tokens[3:]) == ["THE", "The", "the"]


def test_any_order_of_rows_gives_the_same_vocabulary(real):
    real = real[::4]
    shuffled = random.Random(0).sample(real, len(real))
    assert Words.build(column(*real)).tokens == Words.build(pa.chunked_array([shuffled[:99], shuffled[99:]])).tokens


def test_equals_spacy_on_whole_texts(real):
    nlp = spacy.blank("en")
    expected = [[token.text for token in nlp.tokenizer(text) if not token.is_space] for text in real]
    assert words_of(Words.build(column(*real), lower=False), real) == expected


def test_one_by_one_equals_all_at_once(real):
    words = Words.build(column(*real[:500]))
    texts = [*real[300:800], *HARD]
    assert len(texts) > FEW
    assert words_of(words, texts, 50) == [words_of(words, [text], 50)[0] for text in texts]


def test_mask_is_one_ordinary_word_wherever_it_stands():
    words = Words.build(column("x , [MASK]", "[MASK]"))
    assert list(words.tokens) == [*FIRST, ",", "x"]
    assert words_of(words, ["x[MASK], [MASK][MASK]"]) == [["x", "[MASK]", ",", "[MASK]", "[MASK]"]]
    assert words_of(words, ["[PAD] [UNK]"])[0].count("[PAD]") == 0


def test_no_row_is_empty_and_long_rows_lose_their_end():
    words = Words.build(column("a b c"))
    assert words_of(words, ["", " \t\u3000", "a b c a"], 3) == [["[UNK]"], ["[UNK]"], ["a", "b", "c"]]


def test_pairs_are_two_segments_and_unknown_words_are_counted_over_both():
    words = Words.build(column("a b"))
    encoded = words.encode(pa.table({"text_a": column("a b x", "a"), "text_b": column("y y", None)}), 64)
    assert [segment.lengths.tolist() for segment in encoded.segments] == [[3, 1], [2, 1]]
    tokens, unknown = words.unknown(encoded)
    assert tokens.tolist() == [5, 2] and unknown.tolist() == [3, 1]
    assert tokens.dtype == unknown.dtype == np.int32
    assert not words.packs_pairs


def test_no_rows_are_no_trouble():
    assert len(Words.build(column("a")).encode(rows(), 8)) == 0
    assert list(Words.build(pa.chunked_array([], pa.string())).tokens) == list(FIRST)


def test_hostile_texts_pass_and_come_back():
    words = Words.build(column(*HARD), lower=False)
    got = words_of(words, HARD)
    assert ["".join(found) for found in got[2:]] == ["".join(text.split()) for text in HARD[2:]]


def test_a_long_run_of_punctuation_takes_no_quadratic_time():
    words, start = Words.build(column("!")), time.process_time()
    assert [len(found) for found in words_of(words, ["!" * 10_000, "😀!?" * 2_000])] == [10_000, 6_000]
    assert time.process_time() - start < 5


def test_saved_words_load_and_answer_the_same(tmp_path, real):
    words = Words.build(column(*real[:300], *HARD), size=400)
    words.save(tmp_path)
    loaded = vocab.load(tmp_path)
    assert isinstance(loaded, Words) and loaded.tokens == words.tokens
    assert words_of(loaded, real[:100] + HARD) == words_of(words, real[:100] + HARD)
    first = (tmp_path / "vocab.json").read_bytes()
    loaded.save(tmp_path)
    assert (tmp_path / "vocab.json").read_bytes() == first


def test_faults_of_a_recipe_come_together():
    with pytest.raises(UserError) as error:
        Words.build(column("a"), size=2, min_count=0)
    assert len(error.value.faults) == 2 and "size: 2" in error.value.faults[0]


@pytest.mark.parametrize(("content", "said"), [
    (b"{", "broken JSON"), (b"[]", "a JSON object is wanted"), (b"\xff", "broken JSON"),
    (json.dumps({"kind": "words", "tokens": ["a"]}).encode(), "begins with"),
    (json.dumps({"kind": "words", "tokens": [*FIRST, "a", "a"]}).encode(), "different words"),
    (json.dumps({"kind": "wordpieces"}).encode(), "a vocabulary of kind 'words'"),
])
def test_broken_vocabularies_are_refused_by_name(tmp_path, content, said):
    (tmp_path / "vocab.json").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        Words.load(tmp_path)
    assert "vocab.json" in str(error.value)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(UserError, match="vocab.json: missing"):
        Words.load(tmp_path)
