"""Significance: worked examples, parity with SciPy and statsmodels, and the rate of false alarms."""

import gc

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from kdpipe.significance import RESAMPLES, System, _Ranks, compare, mcnemar, randomised
from kdpipe.tasks.metrics import METRICS

OF_CLASSES = [name for name, metric in METRICS.items() if metric.kind == "classification"]
CORRELATIONS = [name for name, metric in METRICS.items() if metric.kind == "regression"]


def made(metric, n=60, systems=2, seeds=1, quality=0.7, seed=0):
    """Gold answers and systems whose seeds are right on their own draws of rows."""
    rng = np.random.default_rng(seed)
    if metric in CORRELATIONS:
        gold = np.round(rng.normal(size=n), 1)
        answers = gold + rng.normal(size=(systems, seeds, n)).round(1)
    else:
        gold = rng.integers(2 if metric == "f1" else 3, size=n)
        other = (gold + 1) % (gold.max() + 1)
        answers = np.where(rng.random((systems, seeds, n)) < quality, gold, other)
    return gold, [System(f"s{i}", a) for i, a in enumerate(answers)]


@pytest.mark.parametrize("metric", METRICS)
def test_the_scores_are_those_of_the_metric(metric):
    gold, systems = made(metric, seeds=2)
    scores, [difference] = compare(systems, gold, metric, resamples=50)
    means = [np.mean([METRICS[metric].value(gold, line) for line in s.predicted]) for s in systems]
    assert [s.value for s in scores] == pytest.approx(means, abs=1e-12)
    assert difference.value == pytest.approx(means[0] - means[1], abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_the_interval_is_scipys_bootstrap(metric):
    """The same draws of rows, the metric by scikit-learn or SciPy on each: the same percentiles."""
    gold, systems = made(metric, n=40)

    def statistic(rows):
        return np.subtract(*(METRICS[metric].value(gold[rows], s.predicted[0][rows]) for s in systems))

    reference = stats.bootstrap((np.arange(40),), statistic, n_resamples=300, method="percentile", vectorized=False,
                                rng=np.random.default_rng(7)).confidence_interval
    _, [found] = compare(systems, gold, metric, resamples=300, seed=7)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [(30, 10), (4, 9), (0, 7), (12, 12), (13, 12)])
def test_mcnemar_is_statsmodels(first, second):
    """`first` rows that only the first has right, `second` that only the second has right, 50 that both have."""
    one = np.r_[np.ones(50 + first), np.zeros(second)].astype(bool)
    other = np.r_[np.ones(50), np.zeros(first), np.ones(second)].astype(bool)
    few = first + second < 25
    reference = reference_mcnemar([[50, first], [second, 0]], exact=few, correction=False).pvalue
    assert mcnemar(one, other) == pytest.approx(reference, abs=1e-12)
    if few:
        assert mcnemar(one, other) == pytest.approx(stats.binomtest(first, first + second).pvalue, abs=1e-9)


def test_a_worked_mcnemar():
    """Nine rows that only one system has right against one: p = 2 * (1 + 10) / 2**10."""
    one, other = np.array([True] * 9 + [False]), np.array([False] * 9 + [True])
    assert mcnemar(one, other) == pytest.approx(22 / 1024)
    assert mcnemar(one, one) == 1.0


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_randomisation_comes_to_the_exact_permutation_test(metric):
    """Of eight rows all 2**8 swaps can be counted; 10,000 random ones come within their own noise."""
    gold, systems = made(metric, n=8, seed=3, quality=0.5)
    a, b = (s.predicted[0] for s in systems)

    def statistic(x, y):
        return METRICS[metric].value(gold, x) - METRICS[metric].value(gold, y)

    exact = stats.permutation_test((a, b), statistic, permutation_type="samples", n_resamples=np.inf,
                                   vectorized=False).pvalue
    assert randomised(metric, gold, a, b) == pytest.approx(exact, abs=4 * (0.25 / RESAMPLES) ** 0.5)


def test_ranks_of_repeated_rows_are_those_of_the_repeated_values():
    values, weights = np.array([3.0, 1.0, 3.0, 2.0, 5.0]), np.array([[2, 0, 1, 3, 1], [1, 1, 1, 1, 1]])
    for drawn, found in zip(weights, _Ranks(values)(weights.T.astype(float)).T, strict=True):
        expected = stats.rankdata(np.repeat(values, drawn))
        assert np.repeat(found, drawn) == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_system_cannot_be_told_from_itself(metric, seeds):
    gold, [one, _] = made(metric, seeds=seeds)
    _, [found] = compare([one, System("again", one.predicted)], gold, metric, resamples=200)
    assert (found.value, found.verdict) == (0, "cannot tell apart") and found.p > 0.9
    assert found.low <= 0 <= found.high


@pytest.mark.parametrize("metric", METRICS)
def test_a_large_difference_is_seen_and_the_other_way_round_it_is_the_opposite(metric):
    gold, [worse, _] = made(metric, n=300, seeds=3, quality=0.4)
    best = System("best", np.stack([gold] * 3))
    _, [found] = compare([best, worse], gold, metric, resamples=200)
    _, [turned] = compare([worse, best], gold, metric, resamples=200)
    assert (found.verdict, turned.verdict) == ("better", "worse")
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low))


def test_the_spread_of_seeds_widens_the_interval():
    """Scores of 0.2, 0.5 and 0.8 over seeds: what rows alone would call sure is not."""
    gold = np.ones(1000, int)
    even = System("even", np.stack([np.r_[np.ones(400), np.zeros(600)]] * 3))
    wide = System("wide", np.stack([np.r_[np.ones(n), np.zeros(1000 - n)] for n in (200, 500, 800)]))
    _, [found] = compare([even, wide], gold, "accuracy", resamples=500)
    assert found.verdict == "cannot tell apart" and found.p > 0.3
    seeds = stats.t.ppf(0.975, 2) * np.std([0.2, 0.5, 0.8], ddof=1) / 3**0.5
    assert found.high - found.value == pytest.approx(seeds, rel=0.02)


def test_many_pairs_are_corrected_together():
    """Holm: the smallest p times the number of pairs, the next one times one less, never falling."""
    gold, systems = made("accuracy", n=200, systems=5, quality=0.7)
    systems.append(System("better", np.where(np.arange(200) % 10 == 0, 1 - gold, gold)[None]))
    _, found = compare(systems, gold, "accuracy", resamples=100)
    p = np.sort([d.p for d in found])
    by_hand = np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)
    assert np.sort([d.p_holm for d in found]) == pytest.approx(by_hand)
    _, against = compare(systems, gold, "accuracy", [(f"s{i}", "better") for i in range(5)], resamples=100)
    assert [d.second for d in against] == ["better"] * 5 and {d.verdict for d in against} == {"worse"}


def test_the_best_of_many_that_are_alike_is_no_better():
    """40 times 28 systems without any difference: which is the best is seen on the rows that are tested."""
    gc.freeze()  # statsmodels collects garbage for each correction, which takes a second among all tests' objects
    alarms = 0
    for i in range(40):
        rng = np.random.default_rng(i)
        gold, hard = rng.integers(2, size=400), rng.random(400)
        answers = np.where((rng.random((28, 1, 400)) + hard) / 2 < 0.75, gold, 1 - gold)
        _, found = compare([System(str(k), a) for k, a in enumerate(answers)], gold, "accuracy", "best", 4, seed=i)
        alarms += any(d.verdict != "cannot tell apart" for d in found)
    gc.unfreeze()
    assert alarms <= stats.binom.ppf(0.999, 40, 0.05)


def test_one_seed_against_three_is_taken_to_vary_as_they_do():
    """300 pairs without any difference, whose seeds differ by five points: one of them was trained once alone."""
    alarms = 0
    for i in range(300):
        rng = np.random.default_rng(i)
        gold = rng.integers(2, size=400)
        one, three = (np.where(rng.random((n, 400)) < 0.8 + 0.05 * rng.normal(size=(n, 1)), gold, 1 - gold)
                      for n in (1, 3))
        _, [found] = compare([System("one", one), System("three", three)], gold, "accuracy", resamples=100, seed=i)
        alarms += found.verdict != "cannot tell apart"
    assert alarms <= stats.binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize(("metric", "seeds"), [("accuracy", 1), ("matthews", 1), ("f1", 1), ("pearson", 1),
                                               ("accuracy", 3), ("macro_f1", 3)])
def test_false_alarms_are_within_their_bounds(metric, seeds):
    """400 pairs of systems without any difference: at most 5% are told apart, with room for the draw of the 400 itself
    (99.9% of a binomial). Seeds differ among themselves: each is right at a rate of its own."""
    alarms = 0
    for i in range(400):
        rng = np.random.default_rng(1000 + i)
        if metric == "pearson":
            gold = rng.normal(size=200)
            answers = gold + rng.normal(size=(2, seeds, 200))
        else:
            gold, hard = rng.integers(2, size=200), rng.random(200)
            rate = 0.75 + 0.03 * rng.normal(size=(2, seeds, 1)) * (seeds > 1)
            answers = np.where((rng.random((2, seeds, 200)) + hard) / 2 < rate, gold, 1 - gold)
        one, other = (System(name, a) for name, a in zip("ab", answers, strict=True))
        _, [found] = compare([one, other], gold, metric, resamples=300, seed=i)
        alarms += found.verdict != "cannot tell apart"
    assert alarms <= stats.binom.ppf(0.999, 400, 0.05)


def test_f1_where_nobody_names_the_second_class():
    none = np.zeros(30)
    systems = [System("a", none[None]), System("b", none[None])]
    scores, [difference] = compare(systems, none, "f1", resamples=100)
    assert [s.value for s in scores] == [0.0, 0.0] and difference.verdict == "cannot tell apart"


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlations_with_a_constant_are_0(metric):
    """So they are where all rows of a resample have one value: of three rows every ninth resample is so."""
    gold = np.array([0.1, 0.2, 0.3])
    systems = [System("same", gold[None] + 5), System("constant", np.full((1, 3), 0.1))]
    scores, [difference] = compare(systems, gold, metric, resamples=400)
    assert {s.name: s.value for s in scores} == {"same": pytest.approx(1), "constant": 0}
    assert (scores[1].low, scores[1].high) == (0, 0) and 0 <= difference.low <= difference.high <= 1 + 1e-9


@pytest.mark.parametrize("metric", ["matthews", "macro_f1", "pearson"])
def test_of_hundreds_of_pairs_a_plain_difference_is_still_told(metric):
    """Holm's correction of 780 pairs asks for p below 0.00007; 10,000 resamples alone cannot say less than 0.0001."""
    rng = np.random.default_rng(0)
    if metric in CORRELATIONS:
        gold = rng.normal(size=500)
        lines = [gold, *rng.normal(size=(39, 500))]
    else:
        gold = rng.integers(3, size=500)
        lines = [gold, *rng.integers(3, size=(39, 500))]
    _, found = compare([System(f"s{i}", line[None]) for i, line in enumerate(lines)], gold, metric, "best")
    assert [d.verdict for d in found] == ["worse"] * 39


def test_the_tail_is_never_below_the_exact_one():
    """Of m rows that one alone has right, all m: 2 / 2^m by the exact test."""
    gold = np.zeros(400, int)
    gold[:200] = 1
    for m in (12, 14, 16, 20):
        other = gold.copy()
        other[:m] = 0
        assert randomised("accuracy", gold, gold, other) >= 0.7 * 2 / 2**m  # counted where enough resamples reach it
        assert randomised("accuracy", gold, gold, other) < 0.01


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_which_one_is_named_first_does_not_change_p(metric):
    gold, [a, b] = made(metric, n=80)
    assert randomised(metric, gold, a.predicted[0], b.predicted[0]) == randomised(
        metric, gold, b.predicted[0], a.predicted[0])
