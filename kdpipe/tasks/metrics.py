"""Metrics of a task: which there are, for what, and their values by scikit-learn and SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdpipe.errors import did_you_mean
from kdpipe.types import Kind


def accuracy(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Share of rows whose class is right."""
    from sklearn.metrics import accuracy_score

    return accuracy_score(gold, predicted)


def f1(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where it is neither there nor predicted."""
    from sklearn.metrics import f1_score

    return f1_score(gold, predicted, pos_label=1, average="binary", zero_division=0)


def macro_f1(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that are there or predicted, each class weighing the same."""
    from sklearn.metrics import f1_score

    return f1_score(gold, predicted, average="macro", zero_division=0)


def matthews(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews correlation of gold and predicted classes, in [-1, 1]; 0 where either holds one class alone."""
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(gold, predicted) if _vary(gold, predicted) else 0.0


def pearson(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Linear correlation, in [-1, 1]; 0 where a side is constant."""
    from scipy.stats import pearsonr

    return pearsonr(gold, predicted).statistic if _vary(gold, predicted) else 0.0


def spearman(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Correlation of ranks, in [-1, 1]; 0 where a side is constant."""
    from scipy.stats import spearmanr

    return spearmanr(gold, predicted).statistic if _vary(gold, predicted) else 0.0


def _vary(gold: np.ndarray, predicted: np.ndarray) -> bool:
    return bool(np.ptp(gold) > 0 and np.ptp(predicted) > 0)


@dataclass(frozen=True)
class Metric:
    """gold [n], predicted [n] (class indexes or scores) -> value; higher is better."""

    kind: Kind
    value: Callable[[np.ndarray, np.ndarray], float]
    binary: bool = False  # defined for two classes only


METRICS = {
    "accuracy": Metric("classification", accuracy),
    "f1": Metric("classification", f1, binary=True),
    "macro_f1": Metric("classification", macro_f1),
    "matthews": Metric("classification", matthews),
    "pearson": Metric("regression", pearson),
    "spearman": Metric("regression", spearman),
}

DEFAULTS: dict[Kind, tuple[str, ...]] = {"classification": ("accuracy",), "regression": ("pearson", "spearman")}


def check(metrics: Sequence[str], kind: Kind, n_classes: int | None = None) -> list[str]:
    """What is wrong with a list of metrics. n_classes: None where it is not known yet."""
    allowed = [name for name, metric in METRICS.items() if metric.kind == kind]
    faults = [] if metrics else [f"found an empty list; allowed: {', '.join(allowed)}"]
    for name in dict.fromkeys(metrics):
        if name not in METRICS:
            faults.append(f"no metric '{name}'{did_you_mean(name, allowed)}")
        elif METRICS[name].kind != kind:
            faults.append(f"'{name}' is not defined for {kind}; allowed: {', '.join(allowed)}")
        elif METRICS[name].binary and n_classes not in (None, 2):
            faults.append(f"'{name}' is defined for 2 classes, the task has {n_classes}; take 'macro_f1'")
        if list(metrics).count(name) > 1:
            faults.append(f"'{name}' is listed twice")
    return faults


def score(
    task_kind: Kind, labels: Sequence[str], metrics: Sequence[str], gold: np.ndarray, logits: np.ndarray
) -> dict[str, float]:
    """Gold class indexes or scores [n], logits [n, C] -> the value of each metric, in the order of `metrics`.

    Rows without gold (NaN) are left out; where no row has gold, no metric has a value. In classification the
    predicted class is the one of the largest logit, in regression the score is the only logit.
    """
    logits = np.asarray(logits, np.float64).reshape(len(gold), -1)
    outputs = len(labels) if task_kind == "classification" else 1
    if logits.shape[1] != outputs:
        raise ValueError(f"{logits.shape[1]} logits a row for {outputs} outputs")
    gold = np.asarray(gold, np.float64)
    known = ~np.isnan(gold)
    if not known.any():
        return {}
    gold, logits = gold[known], logits[known]
    if task_kind == "classification":
        gold, predicted = gold.astype(np.int64), logits.argmax(1)
    else:
        predicted = logits[:, 0]
    return {name: float(METRICS[name].value(gold, predicted)) for name in metrics}
