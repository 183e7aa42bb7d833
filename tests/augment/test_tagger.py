"""The shipped part-of-speech tagger: it loads, is small, tags well, and its training is repeatable."""

from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from kdpipe.augment import train_tagger

FOLDER = Path(train_tagger.__file__).with_name("tagger")
CONLLU = """# text = I don't bark.
1\tI\tI\tPRON\tPRP\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tbark\tbark\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

# text = Dogs bark.
1\tDogs\tdog\tNOUN\tNNS\t_\t2\tnsubj\t_\t_
2\tbark\tbark\tVERB\tVBP\t_\t0\troot\t_\tSpaceAfter=No
2.1\tloudly\tloudly\tADV\tRB\t_\t_\t_\t_\t_
3\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_
"""


@pytest.fixture(scope="module")
def tagger() -> Language:
    return spacy.load(FOLDER)


@pytest.fixture(scope="module")
def dev(datasets) -> list[Doc]:
    return train_tagger.read(datasets / "ud-ewt" / "en_ewt-ud-dev.conllu.gz")


@pytest.fixture
def sentences(tmp_path) -> list[Doc]:
    path = tmp_path / "two.conllu"
    path.write_text(CONLLU, encoding="utf-8")
    return train_tagger.read(path)


def test_the_folder_is_small_and_says_its_licence():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 6_000_000
    assert spacy.load(FOLDER).meta["license"] == "CC BY-SA 4.0"
    assert "creativecommons.org/licenses/by-sa/4.0" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text, tags",
    [
        ("She gave him two old books.", "PRP VBD PRP CD JJ NNS ."),
        ("The dog sleeps in Paris.", "DT NN VBZ IN NNP ."),
        ("I can't see it!", "PRP MD RB VB PRP ."),
        ("it 's a charming film and the actors are great .", "PRP VBZ DT JJ NN CC DT NNS VBP JJ ."),
        ("they do n't like the plot .", "PRP VBP RB VB DT NN ."),
    ],
)
def test_plain_sentences(tagger, text, tags):
    assert [token.tag_ for token in tagger(text)] == tags.split()


def test_words_from_elsewhere_are_tagged_too(tagger):
    doc = tagger(Doc(tagger.vocab, words=["the", "cats", "slept"]))
    assert [token.tag_ for token in doc] == ["DT", "NNS", "VBD"]


@pytest.mark.parametrize("lower, floor, stated", [(False, 0.93, "gold_tokens"), (True, 0.92, "gold_tokens_lower")])
def test_dev_accuracy(tagger, dev, lower, floor, stated):
    """XPOS accuracy on the 2,001 sentences of EWT's dev part, gold tokens: high enough, and what meta.json states."""
    pairs = train_tagger.examples(tagger, dev, lower=lower)
    gold = [token.tag_ for pair in pairs for token in pair.reference]
    tags = [token.tag_ for doc in tagger.pipe(pair.predicted for pair in pairs) for token in doc]
    accuracy = sum(map(str.__eq__, tags, gold)) / len(gold)
    assert accuracy >= floor
    assert accuracy == pytest.approx(tagger.meta["performance"][stated], abs=1e-3)


def test_conllu_gives_syntactic_words(sentences):
    assert [[token.text for token in doc] for doc in sentences] == [
        ["I", "do", "n't", "bark", "."],
        ["Dogs", "bark", "."],
    ]
    assert sentences[0].text.strip() == "I don't bark."
    assert [token.tag_ for token in sentences[1]] == ["NNS", "VBP", "."]


def test_lower_case_keeps_the_tags(sentences):
    pair = train_tagger.examples(spacy.blank("en"), sentences, lower=True)[1]
    assert pair.text.strip() == "dogs bark."
    assert pair.get_aligned("TAG", as_string=True) == ["NNS", "VBP", "."]


def test_same_seed_same_weights(sentences):
    def weights(seed: int) -> bytes:
        return train_tagger.fit(train_tagger.pipeline(), sentences, sentences, seed)

    assert weights(0) == weights(0) != weights(1)
