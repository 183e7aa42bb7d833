"""Randomness as a function: known values, uniformity, independence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, kstest, pearsonr

from kdpipe.draws import row_keys, uniforms, whole

IDS = np.random.default_rng(0).integers(0, 2**64, (20_000, 2), dtype=np.uint64)


def test_the_first_numbers_are_those_of_splitmix64_from_0():
    """The reference generator started at 0 says e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f."""
    u = uniforms(np.zeros(3, np.uint64), np.arange(3))
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert (u * 2**53).astype(np.uint64).tolist() == [x >> 11 for x in expected]


def test_one_position_serves_all_rows():
    keys = row_keys(1, "s", IDS[:5], 0)
    assert (uniforms(keys, 7) == uniforms(keys, np.full(5, 7))).all()


@pytest.mark.parametrize("position", [0, 1, 1000])
def test_numbers_are_uniform_over_rows(position):
    assert kstest(uniforms(row_keys(3, "tang", IDS, 4), position), "uniform").pvalue > 1e-3


def test_numbers_are_uniform_over_the_positions_of_one_row():
    keys = np.repeat(row_keys(3, "tang", IDS[:1], 4), 20_000)
    assert kstest(uniforms(keys, np.arange(20_000)), "uniform").pvalue > 1e-3


def test_ids_that_count_up_give_uniform_numbers_too():
    ids = np.column_stack([np.zeros(20_000, np.uint64), np.arange(20_000, dtype=np.uint64)])
    assert kstest(uniforms(row_keys(0, "s", ids, 0)), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("other", [
    (0, "tang", 1, 0), (0, "tang", 0, 1), (0, "tanh", 0, 0), (1, "tang", 0, 0), (0, "tang", 0, 2),
], ids=["copy", "position", "stream", "seed", "far position"])
def test_neighbouring_draws_have_nothing_in_common(other):
    a = draws(0, "tang", 0, 0)
    b = draws(*other)
    assert pearsonr(a, b).pvalue > 1e-3
    table = np.histogram2d(a, b, bins=8)[0]
    assert chi2_contingency(table).pvalue > 1e-3


def draws(seed: int, stream: str, copy: int, position: int) -> np.ndarray:
    return uniforms(row_keys(seed, stream, IDS, copy), position)


def test_a_row_draws_the_same_in_any_company():
    order = np.random.default_rng(1).permutation(len(IDS))
    assert (row_keys(5, "s", IDS, 2)[order] == row_keys(5, "s", IDS[order], 2)).all()
    assert (row_keys(5, "s", IDS, 2)[:10] == row_keys(5, "s", IDS[:10], 2)).all()


def test_seed_and_copy_do_not_run_together():
    assert row_keys(1, "s", IDS[:1], 11) != row_keys(11, "s", IDS[:1], 1)


def test_the_ids_are_left_as_they_are():
    ids = IDS[:3].copy()
    uniforms(row_keys(0, "s", ids, 0), np.arange(3))
    assert (ids == IDS[:3]).all()


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 2**31))
def test_whole_numbers_stay_below_n(u, n):
    assert 0 <= whole(np.array([u, np.nextafter(1, 0)]), n).max() < n


def test_whole_numbers_are_equally_likely():
    counts = np.bincount(whole(draws(0, "s", 0, 0), 5), minlength=5)
    assert abs(counts / len(IDS) - 0.2).max() < 0.01
