"""Several teachers as one, on numbers that a reader can redo."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kdpipe.errors import UserError
from kdpipe.signals.combine import WAYS, way

LOG = np.log
# Two teachers, two rows. Odds of 3 : 1 and 1 : 1, then of 1 : 4 and 2 : 1.
ONE = np.array([[LOG(3), 0], [0, LOG(4)]], np.float32)
TWO = np.array([[5, 5], [LOG(2), 0]], np.float32)


def together(name, *logits, **arguments):
    return way(name, arguments, len(logits))(logits)


def test_mean_of_logits():
    assert_allclose(together("mean", ONE, TWO), [[(LOG(3) + 5) / 2, 2.5], [LOG(2) / 2, LOG(2)]], rtol=1e-6)


def test_weighted_mean_of_logits():
    found = together("weighted", ONE, TWO, weights=[3, 1])
    assert_allclose(found, [[(3 * LOG(3) + 5) / 4, 5 / 4], [LOG(2) / 4, 3 * LOG(4) / 4]], rtol=1e-6)
    assert_allclose(together("weighted", ONE, TWO, weights=[1, 1]), together("mean", ONE, TWO), rtol=1e-6)


def test_weights_need_not_add_up_to_one():
    assert_allclose(together("weighted", ONE, TWO, weights=[0.3, 0.1]),
                    together("weighted", ONE, TWO, weights=[3, 1]), rtol=1e-6)


def test_the_surest_teacher_of_each_row():
    """Row 0: 3/4 against 1/2; row 1: 4/5 against 2/3. Logits of 5 are no surer than those of 0."""
    assert together("confidence", ONE, TWO).tolist() == ONE.tolist()
    assert together("confidence", TWO, ONE).tolist() == ONE.tolist()


def test_of_equally_sure_teachers_the_first():
    one, two = np.array([[0, 1]], np.float32), np.array([[1, 0]], np.float32)
    assert together("confidence", one, two).tolist() == [[0, 1]]
    assert together("confidence", two, one).tolist() == [[1, 0]]


def test_log_of_the_mean_of_probabilities():
    """Row 0: (3/4 + 1/2) / 2 = 5/8; row 1: (1/5 + 2/3) / 2 = 13/30."""
    assert_allclose(np.exp(together("ensemble", ONE, TWO)), [[5 / 8, 3 / 8], [13 / 30, 17 / 30]], rtol=1e-6)


def test_large_logits_do_not_overflow():
    far = np.array([[1e4, -1e4]], np.float32)
    assert np.isfinite(together("ensemble", far, ONE[:1])).all()
    assert together("confidence", ONE[:1], far).tolist() == far.tolist()


@pytest.mark.parametrize("name", sorted(WAYS))
def test_teachers_who_agree_say_what_each_says(name):
    arguments = {"weights": [1, 2, 3]} if name == "weighted" else {}
    found = together(name, ONE, ONE, ONE, **arguments)
    assert found.dtype == np.float32 and found.shape == ONE.shape
    assert_allclose(found - found[:, :1], ONE - ONE[:, :1], atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "weighted"])
def test_scores_are_averaged(name):
    arguments = {"weights": [1, 3]} if name == "weighted" else {}
    scores = np.array([[1.0]], np.float32), np.array([[3.0]], np.float32)
    assert way(name, arguments, 2, "regression")(scores).tolist() == [[2.5 if arguments else 2.0]]


@pytest.mark.parametrize(("name", "arguments", "kind", "said"), [
    ("meen", {}, "classification", "no way 'meen'; did you mean 'mean'"),
    ("mean", {"weights": [1, 1]}, "classification", "'mean' has no argument 'weights'"),
    ("weighted", {}, "classification", "'weighted' needs the argument 'weights'"),
    ("weighted", {"wieghts": [1, 1]}, "classification", "no argument 'wieghts'; did you mean 'weights'"),
    ("weighted", {"weights": [1]}, "classification", "a number from 0 for each of the 2 teachers"),
    ("weighted", {"weights": [1, -1]}, "classification", r"weights = \[1, -1\]"),
    ("weighted", {"weights": [0, 0]}, "classification", "not all 0"),
    ("weighted", {"weights": [True, 1]}, "classification", "a number from 0"),
    ("weighted", {"weights": [float("inf"), 1]}, "classification", "a number from 0"),
    ("weighted", {"weights": [float("nan"), 1]}, "classification", "a number from 0"),
    ("weighted", {"weights": 2}, "classification", "weights = 2"),
    ("confidence", {}, "regression", "is not defined for regression: a score has no probabilities"),
    ("ensemble", {}, "regression", "is not defined for regression: a score has no probabilities"),
])
def test_what_cannot_be_is_refused(name, arguments, kind, said):
    with pytest.raises(UserError, match=said):
        way(name, arguments, 2, kind)


def test_all_faults_at_once():
    with pytest.raises(UserError) as caught:
        way("confidence", {"weights": [1]}, 2, "regression")
    assert len(caught.value.faults) == 3
