"""Near copies of held-out rows: what arrays and MinHash find is what counting all pairs finds."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe import warehouse
from kdpipe.leaks import HeldOut, in_words
from kdpipe.store import Store
from kdpipe.transfer import build, facts
from kdpipe.types import ROWS, Task, row_ids


def table(texts, second=None):
    return pa.table({"text_a": pa.array(texts, pa.string()),
                     "text_b": pa.array(second or [None] * len(texts), pa.string())})


def shingles(text, segment=0):
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return {(segment, w) for w in words} | {(segment, *pair) for pair in zip(words, words[1:], strict=False)}


def by_hand(held_out, rows, near):
    """Each row's best similarity with all that is held out, where it is near."""
    found = {}
    for i, row in enumerate(rows):
        each = [len(row & other) / len(row | other) if row | other else 0 for other in held_out]
        if row and max(each) >= near - 1e-9:
            found[i] = (int(np.argmax(each)), pytest.approx(max(each)))
    return found


WORDS = st.sampled_from(["good", "bad", "film", "a", "the", "Good", "film,", "--", "well-made", "incomprehensible",
                         "Incomprehensibly", "ÉTÉ", "été—fin", "étés", "电影", "x_y"])
TEXT = st.lists(WORDS, max_size=14).map(" ".join)


def edited(text, at, word):
    words = text.split()
    return " ".join(words[:at % (len(words) + 1)] + [word] + words[at % (len(words) + 1):])


@given(held_out=st.lists(TEXT, min_size=1, max_size=6), others=st.lists(TEXT, max_size=6),
       edits=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), WORDS), max_size=6),
       near=st.sampled_from([0.6, 0.8, 0.9, 1.0]))
def test_what_is_found_is_what_all_pairs_give(held_out, others, edits, near):
    rows = [*others, *(edited(held_out[i % len(held_out)], at, word) for i, at, word in edits)]
    found = HeldOut(table(held_out), near).find(table(rows))
    expected = by_hand([shingles(t) for t in held_out], [shingles(t) for t in rows], near)
    words = [re.findall(r"[^\W_]+", text.lower()) for text in rows]
    sure = {i for i, (_, like) in expected.items() if len(words[i]) < 2 * len(set(words[i])) and like.expected >= 0.8}
    got = {i: (nearest, like) for i, nearest, like in zip(found.rows.tolist(), found.nearest.tolist(),
                                                          found.similarity.tolist(), strict=True)}
    assert sure <= set(got) <= set(expected)
    assert all(got[i][1] == expected[i][1] for i in sure)


def test_case_and_punctuation_do_not_count_and_order_does():
    held_out = HeldOut(table(["A gripping , well-made film ."]))
    found = held_out.find(table(["a gripping well made FILM", "film made well gripping a", "", "..."]))
    assert found.rows.tolist() == [0] and found.similarity.tolist() == [1.0]


def test_both_texts_of_a_pair_count():
    held_out = HeldOut(table(["a man is singing"], ["a woman is playing"]))
    rows = table(["a man is singing", "a man is singing", "a woman is playing"],
                 ["A woman is playing.", "nobody sings", "a man is singing"])
    found = held_out.find(rows)
    assert found.rows.tolist() == [0, 2]  # the last with its texts changed over
    assert found.similarity.tolist() == [1.0, 1.0]


def test_a_word_that_nothing_held_out_has_counts():
    """9 words and 8 pairs; with another word in the middle 8 + 6 of them are shared, of 20."""
    held_out = HeldOut(table(["one two three four five six seven eight nine"]), 0.7)
    found = held_out.find(table(["one two three four NEW six seven eight nine"]))
    assert found.similarity.tolist() == pytest.approx([(8 + 6) / (10 + 10)])
    assert not len(HeldOut(held_out.rows, 0.71).find(table(["one two three four NEW six seven eight nine"])).rows)


@pytest.mark.parametrize("near", [0.8, 1.0])
def test_real_rows(datasets, near, monkeypatch):
    from kdpipe.tasks.load import load

    monkeypatch.setenv("KDPIPE_DATASETS", str(datasets))
    splits = load("cola").splits
    rows, dev = splits["train"].slice(0, 1500), splits["dev"]
    found = HeldOut(dev, near).find(rows)
    expected = by_hand(*([shingles(t) for t in split["text_a"].to_pylist()] for split in (dev, rows)), near)
    assert dict(zip(found.rows.tolist(), found.similarity.tolist(), strict=True)) == {
        i: like for i, (_, like) in expected.items()}


def test_a_row_far_down_a_long_table_is_found_where_it_stands():
    n = 2**21 + 4
    texts = pa.concat_arrays([pa.repeat("a plain row", n - 1), pa.array(["The cat sat on the mat today!"])])
    rows = pa.table({"text_a": texts, "text_b": pa.nulls(n, pa.string())})
    assert HeldOut(table(["the cat sat on the mat today"])).find(rows).rows.tolist() == [n - 1]


def test_copies_are_counted_as_they_are_listed(tmp_path):
    """A text in other case is a copy in words; one with another word is near."""
    task = Task("t", "classification", ("a", "b"), ("accuracy",), {
        split: pa.Table.from_arrays([row_ids(texts := pa.array(its)), texts, pa.nulls(len(its), pa.string()),
                                     pa.array([float(i % 2) for i in range(len(its))])], schema=ROWS)
        for split, its in {"train": ["one", "two"], "dev": ["it was a warm and funny film by all means"]}.items()})
    unlabelled = tmp_path / "more.txt"
    unlabelled.write_text("It was a warm and funny film, by all means.\nit was a warm and funny film by most means\n"
                          "something else\n")
    store = Store(tmp_path / "store")
    key = build(store, task, unlabelled=[unlabelled], near=0.6)
    counts = facts(store, key)["counts"]
    assert (counts["rows"], counts["dropped_leaks"], counts["dropped_near"]) == (3, 1, 1)
    listed = warehouse.query(store, "select kind, learned_from from leak_audit").to_pylist()
    assert [r["kind"] for r in listed] == ["copy", "near"]
    assert in_words([store.read(store.leaks(key))])["kind"].to_pylist() == ["copy", "near"]
