"""Vector files: both formats, tokens that are lacking, and every fault by line."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kdpipe.embeddings.file import File, drawn
from kdpipe.errors import UserError

TOKENS = ["[PAD]", "[UNK]", "[MASK]", "cat", "the", "Paris"]
GLOVE = "the 0.5 -1 2e-1\ncat 1 2 3\nof 7 7 7\n"
NO_TEXTS = pa.chunked_array([], pa.string())


def vectors(path: Path, tokens: list[str] = TOKENS, width: int = 3, seed: int = 0) -> np.ndarray:
    return File(str(path)).vectors(tokens, NO_TEXTS, width, seed, None)


def written(folder: Path, text: str, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz"])
@pytest.mark.parametrize("text", [GLOVE, "3 3\n" + GLOVE, GLOVE.replace("\n", " \r\n"), GLOVE + "\n"])
def test_glove_and_word2vec_text(tmp_path, name, text):
    table = vectors(written(tmp_path, text, name))
    assert table.dtype == np.float32 and table.shape == (6, 3)
    np.testing.assert_array_equal(table[0], 0)
    np.testing.assert_allclose(table[3:5], [[1, 2, 3], [0.5, -1, 0.2]], rtol=1e-6)


def test_lacking_tokens_are_drawn_by_their_name_and_the_seed(tmp_path):
    path = written(tmp_path, GLOVE)
    table = vectors(path)
    np.testing.assert_array_equal(table[1], drawn("[UNK]", 3, 0))
    np.testing.assert_array_equal(vectors(path, ["[PAD]", "Paris", "cat"])[1], table[5])
    assert not np.array_equal(vectors(path, seed=1)[5], table[5])


def test_the_draw_is_uniform_between_minus_and_plus_a_quarter():
    """Uniform of width 1/2: standard deviation 0.5 / sqrt(12)."""
    values = np.concatenate([drawn(f"word{i}", 300, 0) for i in range(200)])
    assert np.abs(values).max() <= 0.25
    assert values.mean() == pytest.approx(0, abs=2e-3) and values.std() == pytest.approx(0.5 / 12**0.5, rel=1e-2)


def test_lower_case_stands_in_but_the_exact_word_wins(tmp_path):
    path = written(tmp_path, "paris 1 1 1\nPARIS 2 2 2\nParis 3 3 3\nParis 4 4 4\n")
    table = vectors(path, ["[PAD]", "Paris", "PARIS", "pAris", "paris"])
    assert table[1:, 0].tolist() == [3, 2, 1, 1]


def test_tokens_with_spaces_or_strange_bytes_are_passed_over(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_bytes(b"the 1 2 3\n. . . 4 5 6\n\xff\xfe 1 2 3\n\xc2\xa0 9 9 9\ncat 7 8 9\n")
    table = vectors(path, [*TOKENS, ". . .", "\u00a0"])
    assert table[[3, 4, 6, 7], 0].tolist() == [7, 1, 4, 9]


def test_a_file_of_another_width_says_which(tmp_path):
    for text in (GLOVE, "3 3\n" + GLOVE):
        with pytest.raises(UserError, match=r"have 3 numbers, the model's width is 300; set width = 3 "):
            vectors(written(tmp_path, text), width=300)


def test_faulty_lines_are_reported_together_with_their_numbers(tmp_path):
    text = "of 1 2 3\ncat 1 x 3\nthe 1 2\nin 1 2 3 4\nParis 1 nan 2\n"
    with pytest.raises(UserError) as error:
        vectors(written(tmp_path, text))
    assert [fault.split(": ", 1)[0].rsplit(" ", 1)[1] for fault in error.value.faults] == ["2", "3", "4", "5"]
    assert "2 numbers after the token, 3 are wanted" in error.value.faults[1]
    assert "more than 3 numbers" in error.value.faults[2]


def test_reading_stops_at_a_file_of_nothing_but_faults(tmp_path):
    with pytest.raises(UserError) as error:
        vectors(written(tmp_path, "cat 1 2 3\n" + "x\n" * 1000))
    assert len(error.value.faults) == 5


@pytest.mark.parametrize(("name", "content", "said"), [
    ("empty.txt", b"", "none of the vocabulary's 6 tokens"),
    ("other.txt", b"chat 1 2 3\n", "of another language"),
    ("prose.txt", b"prose\n", "line 1: a token and its numbers"),
    ("cut.txt.gz", gzip.compress(GLOVE.encode() * 99, mtime=0)[:40], "broken gzip file"),
    ("plain.txt.gz", GLOVE.encode(), "broken gzip file"),
    ("GoogleNews.bin.gz", b"", "binary format is not read"),
])
def test_unusable_files_are_refused_by_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        vectors(tmp_path / name)
    assert name in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file of vectors"):
        vectors(tmp_path / "glove.txt")
