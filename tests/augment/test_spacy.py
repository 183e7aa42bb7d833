"""spaCy pipelines: the one that ships, and what is said of those that cannot serve."""

import shutil

import pyarrow as pa
import pytest
import spacy

from kdpipe.augment._spacy import Pipeline, fingerprint, folder, pipeline
from kdpipe.errors import UserError


def test_the_shipped_tagger_tags_word_for_word():
    words, tags = pipeline("kdpipe").tag(["The cat sat .", "She reads  books", ""])
    assert words.to_pylist() == [["The", "cat", "sat", "."], ["She", "reads", "books"], []]
    assert tags.to_pylist() == [["DT", "NN", "VBD", "."], ["PRP", "VBZ", "NNS"], []]


def test_the_mask_stays_one_word():
    assert pipeline("kdpipe").split(pa.array(["[MASK] was ([MASK])."])).to_pylist() == [
        ["[MASK]", "was", "(", "[MASK]", ")", "."]]


def test_a_text_of_10_000_words_is_tagged():
    words, tags = pipeline("kdpipe").tag(["word " * 10_000])
    assert len(words[0]) == len(tags[0]) == 10_000


def test_any_folder_of_a_pipeline_serves(tmp_path):
    shutil.copytree(folder("kdpipe"), tmp_path / "mine")
    own = Pipeline(str(tmp_path / "mine"))
    assert own.tag(["The cat"]) == pipeline("kdpipe").tag(["The cat"])
    assert fingerprint(str(tmp_path / "mine")) == fingerprint("kdpipe")


def test_the_fingerprint_sees_every_file(tmp_path):
    shutil.copytree(folder("kdpipe"), tmp_path / "mine")
    with (tmp_path / "mine" / "config.cfg").open("a") as file:
        file.write("\n")
    assert fingerprint(str(tmp_path / "mine")) != fingerprint("kdpipe")


@pytest.mark.parametrize("name", ["de_core_news_none", "no/such/folder", "tests", ".", ""])
def test_a_missing_pipeline_says_how_to_install_one(name):
    with pytest.raises(UserError, match="python -m spacy download"):
        folder(name)


def test_a_pipeline_that_does_not_tag_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match="has no tagger"):
        Pipeline(str(tmp_path / "blank")).tag(["The cat"])
