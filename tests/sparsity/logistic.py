"""Logistic regression with L1 and a free intercept by L-BFGS-B: an oracle without random numbers, unlike liblinear."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize


def sparse_logistic(x: np.ndarray, y: np.ndarray, strength: float, weight: np.ndarray | None = None) -> np.ndarray:
    """The weights at the least ``mean loss + strength * |weights|_1``: weight = positive part - negative part, and both
    have 0 as their bound, so that the objective is smooth.
    """
    n, p = x.shape
    share = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    sign = np.where(y == y.max(), 1.0, -1.0)

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ (v[:p] - v[p:-1]) + v[-1])
        slope = -share * sign * np.exp(-np.logaddexp(0, margin))
        by_weight = x.T @ slope
        loss = share @ np.logaddexp(0, -margin) + strength * v[:-1].sum()
        return float(loss), np.concatenate([by_weight + strength, strength - by_weight, [slope.sum()]])

    bounds = [(0.0, None)] * (2 * p) + [(None, None)]
    options = {"maxiter": 100_000, "maxfun": 1_000_000, "maxcor": 50, "ftol": 0.0, "gtol": 1e-10}
    found = minimize(objective, np.zeros(2 * p + 1), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return np.asarray(found[:p] - found[p:-1])
