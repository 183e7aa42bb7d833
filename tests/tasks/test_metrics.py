"""Metrics on numbers that can be redone by hand."""

import numpy as np
import pytest
from scipy.stats import rankdata

from kdpipe.tasks.metrics import DEFAULTS, METRICS, check, score

TWO = ("no", "yes")


def logits(classes, n=2):
    return np.eye(n, dtype=np.float32)[classes]


def test_two_classes_by_hand():
    """TP 2, FN 1, FP 1, TN 4: accuracy 6/8; F1 = 2·2/(2·2+1+1) = 2/3; other class 2·4/(2·4+1+1) = 0.8;
    MCC = (2·4 - 1·1) / sqrt(3·3·5·5) = 7/15."""
    gold, predicted = np.array([1, 1, 1, 0, 0, 0, 0, 0.0]), [1, 1, 0, 1, 0, 0, 0, 0]
    found = score("classification", TWO, ("f1", "accuracy", "macro_f1", "matthews"), gold, logits(predicted))
    assert list(found) == ["f1", "accuracy", "macro_f1", "matthews"]
    assert found == pytest.approx({"f1": 2 / 3, "accuracy": 0.75, "macro_f1": (2 / 3 + 0.8) / 2, "matthews": 7 / 15})


def test_macro_f1_of_three_classes_by_hand():
    """Class 0: 1 of 1 found, once too often: 2/3; class 1: 0; class 2: 1."""
    found = score("classification", ("a", "b", "c"), ("macro_f1",), np.array([0, 1, 2.0]), logits([0, 0, 2], 3))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_correlations_by_hand():
    """Gold 0 1 2 3, predicted 0 1 2 7: covariance 11/4·... r = 11 / sqrt(5 · 29); ranks agree."""
    found = score("regression", (), ("pearson", "spearman"), np.array([0, 1, 2, 3.0]), np.array([[0], [1], [2], [7.0]]))
    assert found == pytest.approx({"pearson": 11 / np.sqrt(5 * 29), "spearman": 1.0})


def test_spearman_is_pearson_of_ranks():
    gold, predicted = np.random.default_rng(0).integers(0, 5, (2, 40)).astype(float)
    by_ranks = score("regression", (), ("pearson",), rankdata(gold), rankdata(predicted))["pearson"]
    assert score("regression", (), ("spearman",), gold, predicted)["spearman"] == pytest.approx(by_ranks)


@pytest.mark.parametrize("predicted", [[0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("gold", [[0, 0, 0], [1, 1, 1], [0, 1, 1]])
def test_undefined_matthews_is_zero_without_a_warning(gold, predicted):
    metrics = ("matthews", "f1", "macro_f1", "accuracy")
    assert score("classification", TWO, metrics, np.array(gold), logits(predicted))["matthews"] == 0.0


def test_correlation_of_a_constant_is_zero_without_a_warning():
    both = ("pearson", "spearman")
    assert score("regression", (), both, np.array([1.0, 2, 3]), np.full((3, 1), 0.1, np.float32)) == dict.fromkeys(
        both, 0
    )
    assert score("regression", (), both, np.array([1.0, 1]), np.array([1.0, 2])) == dict.fromkeys(both, 0)
    assert score("regression", (), both, np.array([1.0]), np.array([1.0])) == dict.fromkeys(both, 0)


def test_rows_without_gold_are_left_out():
    gold = np.array([1, np.nan, 0])
    assert score("classification", TWO, ("accuracy",), gold, logits([1, 0, 0])) == {"accuracy": 1.0}
    assert score("classification", TWO, ("accuracy",), np.full(3, np.nan), logits([1, 0, 0])) == {}


def test_a_wrong_number_of_logits_is_never_read():
    with pytest.raises(ValueError, match="3 logits a row for 2 outputs"):
        score("classification", TWO, ("accuracy",), np.zeros(4), np.zeros((4, 3)))


def test_check():
    assert check(("accuracy", "f1"), "classification", 2) == []
    assert check(("pearson",), "regression", None) == []
    assert check((), "regression") == ["found an empty list; allowed: pearson, spearman"]
    assert check(("f1", "f1"), "classification") == ["'f1' is listed twice"]
    assert check(("f1",), "classification", 3) == ["'f1' is defined for 2 classes, the task has 3; take 'macro_f1'"]
    assert check(("matthew",), "classification", 2) == ["no metric 'matthew'; did you mean 'matthews'?"]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_are_allowed(kind):
    assert check(DEFAULTS[kind], kind, 5) == []
    assert all(METRICS[name].kind == kind for name in DEFAULTS[kind])
