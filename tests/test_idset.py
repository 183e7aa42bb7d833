"""The set of ids against Python's own set."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe import idset
from kdpipe.idset import IdSet, Places, as_ids, halves, join, order
from kdpipe.types import row_ids

# Few values, many of them in one home slot (equal low bits): repeats and long probes are the rule.
NUMBERS = st.sampled_from([1, 2, 3, 1024, 2048, 1 << 40, (1 << 63) + 1, 1023, 2047])
BATCHES = st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=60), max_size=5)


def array(ids: list[tuple[int, int]]) -> np.ndarray:
    return np.array(ids, np.uint64).reshape(-1, 2)


@given(BATCHES)
def test_it_says_what_a_python_set_says(batches):
    ours, theirs = IdSet(), set()
    for batch in batches:
        assert ours.has(array(batch)).tolist() == [i in theirs for i in batch]
        new = []
        for i in batch:
            new.append(i not in theirs)
            theirs.add(i)
        assert ours.add(array(batch)).tolist() == new
        assert len(ours) == len(theirs)


def test_it_grows_and_forgets_nothing():
    ids = np.random.default_rng(0).integers(0, 2**64, (50_000, 2), dtype=np.uint64)
    seen = IdSet(ids[:10])
    assert seen.add(ids).sum() == 49_990
    assert seen.has(ids).all() and len(seen) == 50_000
    assert not seen.has(ids[:, ::-1]).any()


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=60), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=60))
def test_places_are_where_the_ids_stand(ids, asked):
    for i, place in zip(asked, Places(array(ids)).find(array(asked)), strict=True):
        assert ids[place] == i if i in ids else place == -1


def test_places_of_many_ids_that_share_their_leading_bits(monkeypatch):
    monkeypatch.setattr(idset, "_ASKED", 500)  # several batches
    draw = np.random.default_rng(3)
    ids = draw.integers(0, 2**64, (5_000, 2), dtype=np.uint64)
    ids[:2000, 0] = ids[0, 0] + np.arange(2000, dtype=np.uint64) % 7
    order = draw.permutation(5_000)
    assert Places(ids).find(ids[order]).tolist() == order.tolist()
    assert (Places(ids).find(ids[order] ^ np.uint64(1)) == -1).all()


@settings(max_examples=200)
@given(st.data())
def test_a_join_finds_what_a_dictionary_finds(data):
    """Stored and asked for in stretches of one order, with rows on either side that the other lacks."""
    pool = [(a, b) for a in (0, 5, 2**63, 2**64 - 1) for b in range(12)]
    stored = data.draw(st.lists(st.sampled_from(pool), max_size=60))
    runs = data.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=8))
    asked = [stored[start:start + n] for start, n in runs]
    asked += data.draw(st.lists(st.lists(st.sampled_from(pool)), max_size=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idset, "_STRETCH", 4)
        patch.setattr(idset, "_ASKED", 7)
        found = join(array(stored), [array(piece) for piece in asked])
    wanted = [row for piece in asked for row in piece]
    assert len(found) == len(wanted)
    for place, row in zip(found, wanted, strict=True):
        assert stored[place] == row if row in stored else place == -1
        assert place == -1 or wanted.count(row) > 1 or place == stored.index(row)


def test_ids_that_begin_with_zeros_are_remembered_too():
    ids = array([(0, 5), (0, 6), (1024, 5), (0, 5)])
    seen = IdSet()
    assert seen.add(ids).tolist() == [True, True, True, False] and seen.has(ids).all()
    assert not seen.has(array([(0, 7), (2048, 5)])).any()


def test_of_equal_ids_the_first_is_new():
    assert IdSet().add(array([(5, 6), (5, 6), (7, 6), (5, 6)])).tolist() == [True, False, True, False]


def test_ids_come_back_as_they_went_in_also_from_a_slice():
    ids = row_ids(pa.array([f"text {i}" for i in range(9)]))
    assert as_ids(halves(ids)).equals(ids)
    assert as_ids(halves(pa.chunked_array([ids[:4], ids[4:]])[2:7])).equals(ids[2:7])


def test_equal_ids_keep_their_order_when_sorted():
    assert order(array([(2, 1), (1, 9), (1, 2), (1, 9)])).tolist() == [2, 1, 3, 0]


@given(st.lists(st.integers(0, 9), max_size=60), st.lists(st.integers(0, 12), max_size=60), st.booleans())
def test_an_id_that_stands_more_than_once_is_found_at_its_first_place(there, asked, leading):
    """Whatever else is asked for beside it: which of two answers is served must not depend on the company."""

    def ids(numbers):
        """With `leading`, ids that differ in their last bits alone."""
        rows = [[1 << 40, n] if leading else [(n + 1) << 50, 7] for n in numbers]
        return np.array(rows, np.uint64).reshape(-1, 2)

    expected = [there.index(n) if n in there else -1 for n in asked]
    assert Places(ids(there)).find(ids(asked)).tolist() == expected
