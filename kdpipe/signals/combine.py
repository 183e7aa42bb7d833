"""What several teachers say together: their logits as one.

| way        | logits of a row                                                                                    |
|------------|----------------------------------------------------------------------------------------------------|
| mean       | the mean of the teachers' logits (Ba and Caruana 2014, arXiv:1312.6184)                            |
| weighted   | their mean with a weight for each teacher                                                          |
| confidence | those of the teacher whose largest softmax probability is the highest; the first of equal ones     |
| ensemble   | the log of the mean of their probabilities (Furlanello et al. 2018, arXiv:1805.04770)              |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from kdpipe.errors import UserError, did_you_mean

Combine = Callable[[Sequence[np.ndarray]], np.ndarray]  # logits [n, C] of each teacher -> logits [n, C]


def mean(logits: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(logits, axis=0, dtype=np.float32)


def weighted(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    return np.average(np.stack(logits), axis=0, weights=weights).astype(np.float32)


def confidence(logits: Sequence[np.ndarray]) -> np.ndarray:
    surest = np.argmax([_log_softmax(z).max(1) for z in logits], axis=0)
    return np.stack(logits)[surest, np.arange(len(surest))]


def ensemble(logits: Sequence[np.ndarray]) -> np.ndarray:
    return np.log(np.mean([np.exp(_log_softmax(z)) for z in logits], axis=0)).astype(np.float32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


WAYS: dict[str, Callable[..., np.ndarray]] = {f.__name__: f for f in (mean, weighted, confidence, ensemble)}


def way(name: str, arguments: Mapping[str, object], teachers: int, kind: str = "classification") -> Combine:
    """A way by its name and arguments, for so many teachers. Raises UserError with every fault."""
    if name not in WAYS:
        raise UserError(f"no way '{name}'{did_you_mean(name, WAYS)}")
    allowed = [*inspect.signature(WAYS[name]).parameters][1:]
    faults = [f"'{name}' has no argument '{a}'{did_you_mean(a, allowed)}" for a in arguments if a not in allowed]
    faults += [f"'{name}' needs the argument '{a}'" for a in allowed if a not in arguments]
    if kind == "regression" and name in ("confidence", "ensemble"):
        faults.append(f"'{name}' is not defined for regression: a score has no probabilities; take mean or weighted")
    weights = arguments.get("weights", [1] * teachers)
    good = isinstance(weights, (list, tuple)) and all(type(w) in (int, float) and w >= 0 for w in weights)
    if not good or len(weights) != teachers or not 0 < sum(weights) < np.inf:
        faults.append(f"weights = {weights!r}; allowed: a number from 0 for each of the {teachers} teachers, not all 0")
    if faults:
        raise UserError(faults)
    return partial(WAYS[name], **arguments)
