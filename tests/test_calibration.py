"""Temperature scaling: the temperature that made the logits is found again."""

import numpy as np
import pytest
from scipy.special import softmax

from kdpipe.calibration import temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_there_is_found(true):
    """Labels drawn from softmax(z), then logits that are `true` times as large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 3))
    gold = (rng.random((len(logits), 1)) > softmax(logits, axis=1).cumsum(1)).sum(1)
    assert temperature(true * logits, gold) == pytest.approx(true, rel=0.05)


def test_it_changes_no_answer_and_stays_in_bounds():
    logits, gold = np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([0, 1])
    assert 0.01 <= temperature(logits, gold) < 0.5
    assert 99 < temperature(logits, 1 - gold) <= 100
