"""How far a model's confidence can be taken at its word."""

from __future__ import annotations

import numpy as np


def temperature(logits: np.ndarray, gold: np.ndarray) -> float:
    """The T > 0 whose softmax(z / T) has the least negative log likelihood of the gold classes.

    Guo et al. 2017, arXiv:1706.04599, section 4.2. logits [n, C], gold class indexes [n] -> T in [0.01, 100]. A model
    that is right everywhere is given the lowest: nothing there says how sure it should be.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = np.asarray(logits, np.float64)
    right = logits[np.arange(len(gold)), np.asarray(gold, np.int64)]

    def nll(log_t: float) -> float:
        t = np.exp(log_t)
        return float((logsumexp(logits / t, axis=1) - right / t).mean())

    return float(np.exp(minimize_scalar(nll, bounds=(np.log(0.01), np.log(100)), method="bounded").x))
