"""Batches: every row once, little padding, a function of (seed, epoch)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.batches import by_length, collate, lengths, shuffled
from kdpipe.types import Encoded, Ragged

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=300).map(np.array)


def padded(length, batches):
    return sum(len(b) * length[b].max() for b in batches)


@given(length=LENGTHS, size=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_holds_every_row_once(length, size, seed, epoch):
    found = shuffled(length, size, seed, epoch)
    assert sorted(np.concatenate(found)) == list(range(len(length)))
    assert max(map(len, found)) <= size and len(found) == -(-len(length) // size)
    again = shuffled(length, size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_epochs_and_seeds_differ_and_lengths_are_alike():
    length = np.random.default_rng(0).integers(1, 60, 5000)
    first = shuffled(length, 50, seed=0, epoch=1)
    for seed, epoch in ((0, 2), (1, 1)):
        assert not np.array_equal(np.concatenate(first), np.concatenate(shuffled(length, 50, seed, epoch)))
    assert padded(length, first) < 1.03 * length.sum()
    assert len({int(length[b].max()) for b in first[:10]}) > 5  # short and long batches take turns


@given(length=LENGTHS, size=st.integers(1, 20), tokens=st.integers(1, 200))
def test_inference_batches_keep_to_rows_and_tokens(length, size, tokens):
    found = by_length(length, size, tokens)
    assert sorted(np.concatenate(found)) == list(range(len(length)))
    for batch in found:
        assert len(batch) == 1 or (len(batch) <= size and len(batch) * length[batch].max() <= tokens)
    assert list(length[np.concatenate(found)]) == sorted(length, reverse=True)


def test_collate_pads_and_marks():
    data = Encoded((Ragged(np.array([5, 6, 7, 8, 9, 4], np.int32), np.array([0, 3, 4, 6])),),
                   np.array([0, 1, 1, 0, 0, 1], np.uint8))
    batch = collate(data, np.array([2, 0]), np.array([1.0, np.nan, np.nan]), epoch=3)
    tokens = batch.segments[0]
    assert tokens.ids.tolist() == [[9, 4, 0], [5, 6, 7]] and tokens.types.tolist() == [[0, 1, 0], [0, 1, 1]]
    assert tokens.mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.labels.tolist() == [0.0, 1.0] and batch.has_label.tolist() == [False, True]
    assert batch.rows.tolist() == [2, 0] and batch.epoch == 3


def test_pairs_count_both_texts():
    first, second = Ragged(np.ones(4, np.int32), np.array([0, 1, 4])), Ragged(np.ones(3, np.int32), np.array([0, 2, 3]))
    assert lengths(Encoded((first, second))).tolist() == [3, 4]
    assert len(collate(Encoded((first, second)), np.array([0, 1])).segments) == 2


def test_no_rows_make_no_batches():
    assert by_length(np.empty(0, np.int64), 8, 100) == []
    assert pytest.approx(0) == len(shuffled(np.array([3]), 8, 0, 0)) - 1
