"""Flat arrays against the same thing done with Python lists."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.types import Ragged
from kdpipe.vocab import _ragged

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=8)


def lists(ragged: Ragged) -> list[list[int]]:
    return [ragged.flat[a:b].tolist() for a, b in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True)]


@given(ROWS)
def test_lists_come_back(rows):
    assert lists(_ragged.from_lists(rows)) == rows


@given(ROWS.filter(len), st.data())
def test_gather_is_indexing(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    assert lists(_ragged.gather(_ragged.from_lists(rows), np.array(chosen, np.int64))) == [rows[i] for i in chosen]


@given(ROWS, st.integers(1, 5))
def test_cut_is_slicing(rows, n):
    assert lists(_ragged.cut(_ragged.from_lists(rows), n)) == [row[:n] for row in rows]


@given(ROWS)
def test_fill_touches_empty_rows_only(rows):
    assert lists(_ragged.fill(_ragged.from_lists(rows), 7)) == [row or [7] for row in rows]


@given(ROWS, ROWS)
def test_join_is_concatenation(one, other):
    assert lists(_ragged.join([_ragged.from_lists(one), _ragged.from_lists(other)])) == one + other


@given(ROWS)
def test_count_counts_by_row(rows):
    ragged = _ragged.from_lists(rows)
    assert _ragged.count(ragged, ragged.flat > 50).tolist() == [sum(i > 50 for i in row) for row in rows]


def test_blocks_keep_all_texts_in_order_and_bound_their_bytes():
    texts = pa.chunked_array([["x" * 3_000_000] * 15 + ["y" * 34_000_000, None], ["z"]])
    blocks = list(_ragged.blocks(texts))
    assert pa.chunked_array(blocks).to_pylist() == [text or "" for text in texts.to_pylist()]
    assert all(len(block) == 1 or sum(map(len, block.to_pylist())) <= _ragged.BLOCK_BYTES for block in blocks)


def test_chunks_are_counted():
    assert _ragged.count_chunks([pa.array(["a b  a", ""]), pa.array(["\u2003b\t"])]) == {"a": 2, "b": 2, "": 3}
