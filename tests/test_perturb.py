"""What becomes of texts, and what is left alone."""

import numpy as np
import pyarrow as pa
import pytest

from kdpipe.perturb import PERTURBATIONS, added, mistyped, negation, perturbed, title, typos
from kdpipe.types import row_ids

TEXTS = ["The lovely little film was great, and funny throughout.", "it does n't work", "a b c", "Überraschend schön",
         "日本語", "12 34", ""]


def table(texts, seconds=None):
    a, b = pa.array(texts, pa.string()), pa.array(seconds or [None] * len(texts), pa.string())
    return pa.table({"id": row_ids(a, b), "text_a": a, "text_b": b})


@pytest.mark.parametrize(("text", "other"), [
    ("It isn't a good film .", "It is a good film ."),
    ("it does n't work", "it does work"),
    ("it 's not good", "it 's good"),
    ("you can't go", "you can go"),
    ("we cannot stay", "we can stay"),
    ("I WON'T", "I WILL"),
    ("Shan’t we", "Shall we"),
    ("he did not go and was not seen", "he did go and was not seen"),
    ("the film is fine and was cheap", "the film is not fine and was cheap"),
    ("it's good", "it's not good"),
    ("we 're late", "we 're not late"),
    ("the film's charm", "the film's charm"),
    ("this island", "this island"),
    ("a note on nothing", "a note on nothing"),
    ("Is it not fine ?", "Is it fine ?"),
])
def test_negation(text, other):
    assert negation(text) == other


def test_a_negation_put_in_comes_out_again():
    for text in ("the film is fine", "you can go", "they were late and have gone"):
        assert negation(text) != text and negation(negation(text)) == text


@pytest.mark.parametrize(("kind", "place", "letter", "typo"), [
    (0.0, 0.0, 0.0, "flim"),   # the two inner letters change places
    (0.3, 0.0, 0.0, "flm"),    # i goes
    (0.5, 0.0, 0.0, "fuilm"),  # u lies beside i
    (0.9, 0.0, 0.0, "fulm"),
    (0.0, 0.9, 0.0, "fim"),    # no inner letter comes after l
])
def test_the_kinds_of_typo(kind, place, letter, typo):
    assert mistyped("film", kind, place, letter) == typo


def test_a_typo_always_changes_a_word_inside_and_keeps_its_case():
    draw = np.random.default_rng(0)
    for word in ("aaaa", "Letter", "SHOUT", "日本語文", "naïve"):
        for u in draw.random((200, 3)):
            found = mistyped(word, *u)
            assert found != word and (found[0], found[-1]) == (word[0], word[-1]) and abs(len(found) - len(word)) <= 1
            assert not word.isupper() or found.isupper()


def test_the_rate_of_typos_is_the_one_that_is_said():
    text = " ".join(["word"] * 40_000)
    wrong = np.mean([w != "word" for w in typos(text, np.uint64(7), 0.1).split()])
    assert wrong == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_row_gets_the_same_whatever_stands_beside_it(name):
    rows = table(TEXTS)
    whole = {r["id"]: r for r in perturbed(rows, name).to_pylist()}
    alone = {r["id"]: r for i in reversed(range(len(rows))) for r in perturbed(rows.slice(i, 1), name).to_pylist()}
    assert whole == alone and whole
    for old, new in whole.items():
        assert old != new["perturbed_id"] == row_ids(pa.array([new["text_a"]]))[0].as_py()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_pairs_stay_pairs(name):
    rows = table(["The dog IS here", "A man is not running."], ["The Cat is sleeping.", "Somebody runs away"])
    for row in perturbed(rows, name).to_pylist():
        assert row["text_b"] is not None
        assert PERTURBATIONS[name].every or row["text_a"] in rows["text_a"].to_pylist()


def test_a_typo_falls_on_one_word_of_each_text_that_has_one():
    [first, *_] = perturbed(table(TEXTS), "typo")["text_a"].to_pylist()
    assert sum(a != b for a, b in zip(first.split(), TEXTS[0].split(), strict=True)) == 1
    assert "a b c" not in perturbed(table(TEXTS), "typo")["text_a"].to_pylist()


def test_words_are_added_before_what_ends_a_text():
    assert added("A fine film .", "and true is true") == "A fine film and true is true ."
    assert added("is it so?", "and true is true") == "is it so and true is true?"
    assert added("fine", "and true is true") == "fine and true is true"


def test_title_leaves_what_follows_an_apostrophe():
    assert title("don't 'stop' l’amour NOW") == "Don't 'stop' L’amour NOW"
