"""How sure one can be of a difference between systems that answered the same rows.

The tests are those that Dror et al. 2018 (ACL, P18-1128) name: McNemar for accuracy, approximate randomisation for the
other metrics of classes, paired bootstrap for correlations and for all intervals. Seeds are treated as seeds: where a
system has several, the spread of its scores joins the spread over rows, and rows of different seeds are never pooled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05  # of false alarms
_HELD = 2_000_000  # weights of rows that are held at once, 4 bytes each
_COLUMNS = 256  # of a product of matrices
_ROUNDING = 1e-12  # of squares: a variance below it is that of one value
_BLOCK = 64  # resamples side by side: 5,000 rows of them stay in the cache of a core
_FEW = 10  # resamples: their share says little of a tail
_EXACT_BELOW = 25  # rows that only one of the two has right (Dror et al. 2018)


@dataclass(frozen=True)
class System:
    """What a recipe's runs or one run answered. predicted: class indexes or scores [S, n], one line for each seed."""

    name: str
    predicted: np.ndarray


@dataclass(frozen=True)
class Score:
    """A system's mean score over seeds and the 95% interval over rows and, where there are several, seeds."""

    name: str
    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """first - second on the same rows: 95% interval, p of no difference, p after Holm's correction, and the words."""

    first: str
    second: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: str  # "better", "worse", "cannot tell apart"
    test: str


Pairs = Sequence[tuple[str, str]] | Literal["all", "best"]


def compare(systems: Sequence[System], gold: np.ndarray, metric: str, pairs: Pairs = "all",
            resamples: int = RESAMPLES, seed: int = 0) -> tuple[list[Score], list[Difference]]:
    """Each system's score and the difference of each pair, Holm-corrected together: those of one Panel."""
    panel = Panel(systems, gold, metric, resamples, seed)
    return panel.scores, panel.differences(pairs)


class Panel:
    """Systems that answered the same rows.

    gold: class indexes or scores [n]. metric: a name of kdpipe.tasks.metrics. One set of resampled rows serves all
    systems, so the intervals of their differences are paired. With one seed on both sides a verdict is on these two
    models alone: nothing is known of other seeds.
    """

    def __init__(self, systems: Sequence[System], gold: np.ndarray, metric: str, resamples: int = RESAMPLES,
                 seed: int = 0):
        self._gold, self._metric, self._resamples, self._seed = gold, metric, resamples, seed
        self._systems = {s.name: s for s in systems}
        sums = _sums(metric, gold, np.concatenate([s.predicted for s in systems]))
        point, drawn = sums.values(np.ones((1, len(gold)))), _drawn(sums, len(gold), resamples, seed)
        cuts = np.cumsum([len(s.predicted) for s in systems])[:-1]
        self._at = dict(zip(self._systems, np.split(point[0], cuts), strict=True))
        self._spread = {name: d.mean(1) for name, d in zip(self._systems, np.split(drawn, cuts, axis=1), strict=True)}

    @property
    def scores(self) -> list[Score]:
        """Of each system, in the order that they came in."""
        return [Score(name, a.mean(), *np.clip(_interval(a, None, self._spread[name]), -1, 1), len(a))
                for name, a in self._at.items()]  # no metric here goes beyond 1

    def differences(self, pairs: Pairs = "all", among: Iterable[str] | None = None) -> list[Difference]:
        """Of each pair, Holm-corrected together.

        pairs: of names; "all": each with each other; "best": each against the one with the highest score, corrected as
        if all were compared, for each might have been the best. among: the systems that these two speak of; None: all.
        """
        names, family = list(among or self._systems), None
        if pairs == "best":
            family = len(names) * (len(names) - 1) // 2  # which one is the best was seen on these very rows
            pairs = all_against(names, max(names, key=lambda name: self._at[name].mean()))
        return holm([self._difference(*pair) for pair in (combinations(names, 2) if pairs == "all" else pairs)], family)

    def _difference(self, first: str, second: str) -> Difference:
        a, b, rows = self._at[first], self._at[second], self._spread[first] - self._spread[second]
        p, test = _p(self._metric, self._gold, self._systems[first], self._systems[second], a, b, rows,
                     self._resamples, self._seed)
        return Difference(first, second, a.mean() - b.mean(), *_interval(a, b, rows), p, p, "", test)


def all_against(names: Iterable[str], one: str) -> list[tuple[str, str]]:
    return [(name, one) for name in names if name != one]


def holm(found: list[Difference], family: int | None = None) -> list[Difference]:
    """With Holm's p and the verdict that follows from it.  Holm 1979, Scandinavian Journal of Statistics 6.

    family: how many comparisons there were, where these are not all; the others count as ones with p = 1.
    """
    corrected = [d.p for d in found]
    if (family or len(found)) > 1 and found:
        from statsmodels.stats.multitest import multipletests

        others = [1.0] * ((family or len(found)) - len(found))
        corrected = multipletests([*corrected, *others], alpha=LEVEL, method="holm")[1][:len(found)]
    return [replace(d, p_holm=float(p), verdict=_verdict(d.value, p)) for d, p in zip(found, corrected, strict=True)]


def _verdict(value: float, p: float) -> str:
    if p >= LEVEL or value == 0:
        return "cannot tell apart"
    return "better" if value > 0 else "worse"


# ---- intervals and tests


def _interval(first: np.ndarray, second: np.ndarray | None, rows: np.ndarray) -> tuple[float, float]:
    """95% of a mean over seeds [S], or of the difference of two: by its percentiles over resampled rows where neither
    has a second seed, else by Student's t over the variances of seeds and rows together."""
    value, seeds = first.mean() - (0 if second is None else second.mean()), _seeds(first, second)
    if not seeds:
        return tuple(np.quantile(rows, [LEVEL / 2, 1 - LEVEL / 2]))
    from scipy import stats

    variance, freedom = _together(seeds, rows)
    reach = stats.t.isf(LEVEL / 2, freedom) * variance**0.5
    return value - reach, value + reach


def _seeds(*scores: np.ndarray | None) -> list[tuple[float, int]]:
    """The variance of each mean over seeds and its degrees of freedom. A system of one seed against one of several is
    taken to vary as that does."""
    there = [s for s in scores if s is not None]
    several = [s for s in there if len(s) > 1]
    if len(several) == 1 and len(there) == 2:
        s = several[0]
        return [(s.var(ddof=1) * (1 + 1 / len(s)), len(s) - 1)]
    return [(s.var(ddof=1) / len(s), len(s) - 1) for s in several]


def _together(seeds: list[tuple[float, int]], rows: np.ndarray) -> tuple[float, float]:
    """The variance over seeds and rows and its degrees of freedom (Welch 1947, Satterthwaite 1946), those of the rows
    without end. What seeds and rows do together is counted twice: the interval is rather too wide than too narrow."""
    variance = sum(v for v, _ in seeds) + rows.var(ddof=1)
    known = sum(v**2 / df for v, df in seeds)
    return variance, variance**2 / known if known else np.inf


def _p(metric: str, gold: np.ndarray, first: System, second: System, a: np.ndarray, b: np.ndarray, rows: np.ndarray,
       resamples: int, seed: int) -> tuple[float, str]:
    from scipy import stats

    value = a.mean() - b.mean()
    if seeds := _seeds(a, b):
        variance, freedom = _together(seeds, rows)
        p = 2 * stats.t.sf(abs(value) / variance**0.5, freedom) if variance else float(value == 0)
        return float(p), f"Welch's t over {len(a)} and {len(b)} seeds and the rows"
    one, other = first.predicted[0], second.predicted[0]
    if metric == "accuracy":
        return mcnemar(one == gold, other == gold), "McNemar"
    if metric in _OF_COUNTS:
        return randomised(metric, gold, one, other, resamples, seed), "approximate randomisation"
    return _share(abs(rows - value), abs(value)), "paired bootstrap"


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """p of two systems that are right [n] equally often: exact where few rows tell them apart, else by chi squared."""
    from statsmodels.stats.contingency_tables import mcnemar as test

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    table = [[int((first & second).sum()), only_first], [only_second, int((~first & ~second).sum())]]
    return float(test(table, exact=only_first + only_second < _EXACT_BELOW, correction=False).pvalue)


def randomised(metric: str, gold: np.ndarray, first: np.ndarray, second: np.ndarray, resamples: int = RESAMPLES,
               seed: int = 0) -> float:
    """p by approximate randomisation: the answers to each row change sides by the toss of a coin.

    Rows of the same gold class and answers are alike: that of 40 of them k are swapped is one draw from a binomial, and
    not 40. So the cost does not depend on the number of rows; the distribution is the same.
    Noreen 1989; p = (1 + #{|d*| >= |d|}) / (1 + R).
    """
    first, second = sorted((first, second), key=lambda answers: answers.tobytes())  # the same p in either order
    cells, counts = np.unique(np.stack([gold, first, second]).astype(np.int64), axis=1, return_counts=True)
    g, a, b = cells
    k = max(2, int(cells.max()) + 1)
    swapped = np.random.default_rng(seed).binomial(counts * (a != b), 0.5, size=(resamples, len(counts)))
    swapped = np.concatenate([np.zeros_like(swapped[:1]), swapped])
    t = np.bincount(g, counts, k)
    sides = []
    for mine, theirs in ((a, b), (b, a)):
        p = (counts - swapped) @ np.eye(k)[mine] + swapped @ np.eye(k)[theirs]
        tp = (counts - swapped) @ (np.eye(k)[g] * (mine == g)[:, None]) + swapped @ (
            np.eye(k)[g] * (theirs == g)[:, None])
        sides.append(_OF_COUNTS[metric](tp, p, t))
    d = abs(sides[0] - sides[1])
    return _share(d[1:], d[0] - 1e-12)


def _share(drawn: np.ndarray, reached: float) -> float:
    """p, (1 + #{d* >= d}) / (1 + R), of distances d* [R] of resamples from no difference.

    That is never below 1 / (1 + R), which Holm's correction takes above 5% where hundreds of pairs are compared. So
    where fewer than ten resamples reach d, the tail is the normal one of their spread, if that is smaller: it is above
    the exact binomial tail of swapped rows. After Knijnenburg et al. 2009, doi:10.1093/bioinformatics/btp211.
    """
    from scipy import stats

    there, spread = int((drawn >= reached).sum()), np.sqrt(np.mean(drawn**2))
    counted = (1 + there) / (1 + len(drawn))
    return float(min(counted, 2 * stats.norm.sf(reached / spread))) if there < _FEW and spread else counted


# ---- scores of weighted rows


def _drawn(sums: _Sums, n: int, resamples: int, seed: int) -> np.ndarray:
    """The scores [R, M] of M lines of answers on rows drawn with replacement."""
    return np.concatenate([sums.values(w) for w in _weights(n, resamples, np.random.default_rng(seed))])


def _weights(n: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of n rows is drawn in each resample, float32 [r, n], a few resamples at a time."""
    step = max(1, _HELD // n)
    for start in range(0, resamples, step):
        r = min(step, resamples - start)
        drawn = rng.integers(n, size=(r, n)) + np.arange(r)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n).astype(np.float32)


class _Sums(ABC):
    """The score of weighted rows, for M lines of answers at once."""

    @abstractmethod
    def values(self, weights: np.ndarray) -> np.ndarray:
        """Weights [r, n] -> scores [r, M]."""


class _Counts(_Sums):
    """From true positives, predicted and gold rows of each class."""

    def __init__(self, metric: str, gold: np.ndarray, predicted: np.ndarray):
        self.score, k = _OF_COUNTS[metric], max(2, int(max(gold.max(), predicted.max())) + 1)
        self.gold, self.predicted, self.eye = gold.astype(np.int64), predicted.astype(np.int64), np.eye(k, dtype="f4")

    def values(self, weights: np.ndarray) -> np.ndarray:
        gold = self.eye[self.gold]
        t, found = (weights @ gold)[:, None], []
        step = max(1, _COLUMNS // len(self.eye))
        for start in range(0, len(self.predicted), step):
            answered = self.eye[self.predicted[start:start + step].T]  # [n, m, C]
            counts = _product(weights, answered * gold[:, None]), _product(weights, answered), t
            found.append(self.score(*(x.astype(np.float64) for x in counts)))
        return np.concatenate(found, axis=1)


def _product(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weights [r, n] and columns [n, m, C] -> [r, m, C], as one product of matrices: many thin ones take ten times as
    long."""
    return (weights @ columns.reshape(len(columns), -1)).reshape(len(weights), *columns.shape[1:])


class _Hits(_Sums):
    """Accuracy, from rows that are right alone, however many classes there are."""

    def __init__(self, metric: str, gold: np.ndarray, predicted: np.ndarray):
        self.right = (predicted == gold).T.astype("f4")

    def values(self, weights: np.ndarray) -> np.ndarray:
        return (weights @ self.right).astype(np.float64) / weights.sum(1, dtype=np.float64)[:, None]


def _accuracy(tp: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return tp.sum(-1) / p.sum(-1)


def _f1(tp: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return _each_f1(tp, p, t)[..., 1]


def _macro_f1(tp: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    there = p + t > 0
    return np.where(there, _each_f1(tp, p, t), 0).sum(-1) / there.sum(-1)


def _each_f1(tp: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return 2 * tp / np.maximum(p + t, 1)


def _matthews(tp: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
    n = p.sum(-1)
    above = tp.sum(-1) * n - (p * t).sum(-1)
    below = np.sqrt((n**2 - (p**2).sum(-1)) * (n**2 - (t**2).sum(-1)))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


_OF_COUNTS = {"accuracy": _accuracy, "f1": _f1, "macro_f1": _macro_f1, "matthews": _matthews}


class _Pearson(_Sums):
    """From the means, squares and products of all values, as one product of matrices."""

    def __init__(self, metric: str, gold: np.ndarray, predicted: np.ndarray):
        lines = np.concatenate([gold[None], predicted]).astype(np.float64)
        lines -= np.where(np.ptp(lines, 1) > 0, lines.mean(1), lines[:, 0])[:, None]  # what is left of a mean is small
        self.columns = np.concatenate([lines, lines**2, lines[:1] * lines]).T  # [n, 3 (M + 1)]

    def values(self, weights: np.ndarray) -> np.ndarray:
        share = weights / weights.sum(1, keepdims=True, dtype=np.float64)
        mean, square, product = np.split(share @ self.columns, 3, axis=1)
        spread = square - mean**2
        spread[spread < _ROUNDING * square] = 0  # all drawn rows have one value
        above, below = (product - mean[:, :1] * mean)[:, 1:], np.sqrt(spread[:, :1] * spread)[:, 1:]
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


class _Spearman(_Sums):
    """Pearson's correlation of the ranks among the drawn rows."""

    def __init__(self, metric: str, gold: np.ndarray, predicted: np.ndarray):
        self.of = [_Ranks(line.astype(np.float64)) for line in (gold, *predicted)]

    def values(self, weights: np.ndarray) -> np.ndarray:
        return np.concatenate([self._block(np.ascontiguousarray(weights[start:start + _BLOCK].T, np.float64))
                               for start in range(0, len(weights), _BLOCK)])

    def _block(self, weights: np.ndarray) -> np.ndarray:
        """Weights [n, r], the resamples side by side so that rows are taken whole -> [r, M]."""
        share = weights / weights.sum(0)
        gold = _centred(share, self.of[0](weights))
        weighted = share * gold
        spread, found = _sum(weighted, gold), []
        for of in self.of[1:]:
            line = _centred(share, of(weights))
            above, below = _sum(weighted, line), np.sqrt(spread * _sum(share * line, line))
            found.append(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
        return np.stack(found, axis=1)


def _centred(share: np.ndarray, line: np.ndarray) -> np.ndarray:
    return line - _sum(share, line)


def _sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.einsum("nr,nr->r", one, other)


class _Ranks:
    """Mean ranks of values [n] where row i is there weights[i, r] times -> [n, r]; sorted once for all resamples."""

    def __init__(self, values: np.ndarray):
        distinct, self.group = np.unique(values, return_inverse=True)
        self.order = np.argsort(self.group, kind="stable")
        self.starts = np.searchsorted(self.group[self.order], np.arange(len(distinct)))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        size = weights[self.order]
        size = size if len(self.starts) == len(self.order) else np.add.reduceat(size, self.starts, axis=0)
        ranks = size.cumsum(0)
        ranks -= size / 2 - 0.5
        return ranks[self.group]


def _sums(metric: str, gold: np.ndarray, predicted: np.ndarray) -> _Sums:
    kind = {"accuracy": _Hits, "pearson": _Pearson, "spearman": _Spearman}.get(metric, _Counts)
    return kind(metric, gold, predicted)
