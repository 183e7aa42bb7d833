"""Mask: rate, limits, faults."""

import numpy as np
import pytest
from scipy.stats import binomtest

from kdpipe.augment.mask import Mask
from kdpipe.errors import UserError
from kdpipe.types import MASK, TRANSFER, Round


def test_p_1_masks_all_and_p_0_makes_nothing(by_hand):
    tokens = by_hand(["a b c", "d"])
    made = Mask(p=1.0).make(tokens, 0, Round())
    assert made["text_a"].to_pylist() == ["[MASK] [MASK] [MASK]", "[MASK]"]
    assert made["operator"].to_pylist() == ["mask", "mask"]
    assert len(Mask(p=0.0).make(tokens, 0, Round())) == 0


def test_a_word_that_is_the_mask_already_is_no_change(by_hand):
    assert len(Mask(p=1.0).make(by_hand(["[MASK] [MASK]"]), 0, Round())) == 0


def test_one_word_in_ten_is_masked(many):
    made = Mask(p=0.1).make(many, 0, Round(seed=5))
    masked = sum(text.split().count(MASK) for text in made["text_a"].to_pylist())
    assert binomtest(masked, int(many.n_words.sum()), 0.1).pvalue > 1e-3


def test_every_place_is_masked_as_often(many):
    texts = [t.split() for copy in range(3) for t in Mask().make(many, copy, Round())["text_a"].to_pylist()]
    at = np.array([[word == MASK for word in text] for text in texts]).sum(axis=0)
    rate = at / (3 * len(many))
    assert len(rate) == 11 and abs(rate - 0.1).max() < 0.012


def test_made_rows_have_the_schema_and_no_label(many):
    made = Mask(p=0.5).make(many, 7, Round(index=2, seed=1))
    assert made.schema == TRANSFER
    made.validate(full=True)
    assert made["label"].null_count == made["text_b"].null_count == len(made)
    assert set(made["copy"].to_pylist()) == {7} and set(made["round"].to_pylist()) == {2}


@pytest.mark.parametrize("changed", [dict(copy=1), dict(seed=1), dict(index=1)])
def test_copy_seed_and_round_each_change_what_is_made(many, changed):
    first = Mask(p=0.5).make(many, 0, Round())
    other = Mask(p=0.5).make(many, changed.pop("copy", 0), Round(**changed))
    assert first["text_a"].to_pylist() != other["text_a"].to_pylist()


@pytest.mark.parametrize("p, copies, faults", [(1.1, 1, 1), (-0.1, 1, 1), ("0.1", 1, 1), (float("nan"), 0, 2),
                                               (True, 1.5, 2), (0.1, True, 1)])
def test_numbers_out_of_bounds_are_refused_together(p, copies, faults):
    with pytest.raises(UserError, match="mask: ") as e:
        Mask(p=p, copies=copies)
    assert len(e.value.faults) == faults
