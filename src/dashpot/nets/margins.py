"""Linear models on sparse features, by scikit-learn's solvers: one class against the rest, and margins as log-odds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dashpot.evaluation.calibration import fit_temperature

COMPLEMENT = "complement-nb"
LINEAR = ("logistic", "svm", "nb-svm", COMPLEMENT)
"""Of classes: logistic regression with L2, a linear support vector machine with squared hinge loss, and that machine on
features times their naive Bayes log-count ratios; and complement naive Bayes, whose strength is 1 over what is added
to a count.
"""
RIDGE = "ridge"
"""Of values: least squares with L2."""
SMOOTHING, INTERPOLATION = 1.0, 0.75
"""Of naive Bayes counts, and between the mean strength of a class (0) and the machine's own weights (1)."""
FOLDS, ENOUGH = 10, 2000
"""By which margins find their temperature, and how many held-out rows tell it."""

Solved = tuple[np.ndarray, np.ndarray]
"""Weights [features, outputs] and bias [outputs]."""


@dataclass(frozen=True)
class SparseRows:
    """Rows to learn from.

    Attributes:
        x: scipy csr matrix float64 [n, features].
        y: classes int64 [n], or values.
        weight: how many rows each counts as, above 0; None: one.
    """

    x: Any
    y: np.ndarray
    weight: np.ndarray | None = None

    def part(self, rows: np.ndarray) -> SparseRows:
        """Some of them."""
        return SparseRows(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


def fit_margins(
    how: str,
    rows: SparseRows,
    classes: int,
    strengths: Sequence[float],
    seed: int,
    temperature: float | None = None,
) -> Solved:
    """Logits of classes: the margins of a linear model, divided by the temperature that is best for rows that were held
    out of ``rows``, which also choose one of several ``C``.

    Args:
        how: of :data:`LINEAR`.
        rows: of two classes at least.
        classes: how many outputs; the margin of a class that no row has is -1.
        strengths: values of ``C``.
        seed: of the folds.
        temperature: instead of the best one.
    """
    C, by = strengths[0], temperature
    if by is None or len(strengths) > 1:
        _, best, C = min((*_held_out(how, rows, C, classes, seed), C) for C in strengths)
        by = best if by is None else by
    w, b = one_against_rest(how, rows, C, classes)
    return w / by, b / by


def one_against_rest(how: str, rows: SparseRows, C: float, classes: int) -> Solved:
    """The margins of each class against all others; of two classes those of one model, half for each logit."""
    if how == COMPLEMENT:
        return complement_bayes(rows, 1 / C, classes)
    if classes == 2:
        w, b = _against(how, rows, rows.y == 1, C)
        return np.stack([-w / 2, w / 2], axis=1), np.array([-b / 2, b / 2])
    each = [_against(how, rows, rows.y == label, C) for label in range(classes)]
    return np.stack([w for w, _ in each], axis=1), np.array([b for _, b in each])


def _against(how: str, rows: SparseRows, yes: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """Weights [features] and bias of the margin of ``yes`` [rows]."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x = rows.x
    if yes.all() or not yes.any():  # a class that no row has, or all
        return np.zeros(x.shape[1]), 1.0 if yes.all() else -1.0
    ratio = None
    if how == "nb-svm":
        ratio = log_count_ratios(x, yes, rows.weight)
        x = csr_matrix((x.data * ratio[x.indices], x.indices, x.indptr), shape=x.shape)
    # Both by Newton's method, which draws nothing.
    solver = (
        LogisticRegression(C=C, solver="liblinear", max_iter=300)
        if how == "logistic"
        else LinearSVC(C=C, dual=False, max_iter=1000)
    )
    solver.fit(x, yes, sample_weight=rows.weight)
    w, b = solver.coef_.ravel(), float(solver.intercept_[0])
    if ratio is None:
        return w, b
    return ratio * ((1 - INTERPOLATION) * np.abs(w).mean() + INTERPOLATION * w), b


def complement_bayes(rows: SparseRows, smoothing: float, classes: int) -> Solved:
    """Of each class and feature: less the logarithm of the feature's share of all counts of the other classes. A class
    that no row has is last.

    Paper: Rennie et al., "Tackling the Poor Assumptions of Naive Bayes Text Classifiers", ICML 2003.

    Args:
        rows: counts, >= 0.
        smoothing: what is added to each count, > 0.
    """
    each = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    counts = np.stack([rows.x.T @ (each * (rows.y == label)) for label in range(classes)], axis=1)
    others = smoothing + counts.sum(axis=1, keepdims=True) - counts
    w = -np.log(others / others.sum(axis=0))
    absent = np.bincount(rows.y, minlength=classes)[:classes] == 0
    least = w[:, ~absent].min(axis=1, keepdims=True)
    return np.where(absent, least, w), np.where(absent, -1.0, 0.0)


def log_count_ratios(x: Any, yes: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Of each feature: the logarithm of its share of all features of rows ``yes``, less that of the others; each counts
    once for a row, and 1 is added to its count.
    """
    from scipy.sparse import csr_matrix

    there = csr_matrix((np.ones(x.nnz), x.indices, x.indptr), shape=x.shape)
    each = np.ones(len(yes)) if weight is None else weight
    own, other = (SMOOTHING + there.T @ (each * part) for part in (yes, ~yes))
    return np.asarray(np.log(own / own.sum()) - np.log(other / other.sum()))


def _held_out(how: str, rows: SparseRows, C: float, classes: int, seed: int) -> tuple[float, float]:
    """The log loss of margins of held-out rows at their best temperature, and that temperature; 1 where there are too
    few rows to tell.
    """
    place = np.random.default_rng(seed).permutation(len(rows.y))
    # By class, so that each part has its share of every one.
    part = np.empty(len(rows.y), dtype=np.int64)
    part[place[np.argsort(rows.y[place], kind="stable")]] = np.arange(len(rows.y)) % FOLDS
    margins, held = [], []
    for fold in range(FOLDS):
        inside, out = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
        if len(np.unique(rows.y[inside])) < 2 or not len(out):
            continue
        w, b = one_against_rest(how, rows.part(inside), C, classes)
        margins.append(rows.x[out] @ w + b)
        held.append(out)
        if sum(map(len, held)) >= ENOUGH:
            break
    if not held:
        return 0.0, 1.0
    seen = np.concatenate(held)
    weight = None if rows.weight is None else rows.weight[seen]
    temperature = fit_temperature(np.concatenate(margins), rows.y[seen], weight=weight)
    z = np.concatenate(margins) / temperature
    z -= z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(seen)), rows.y[seen]]
    return float(np.average(loss, weights=weight)), temperature


def fit_ridge(rows: SparseRows, C: float) -> Solved:
    """Least squares with ``alpha = 1 / C`` and a bias that is not held."""
    from sklearn.linear_model import Ridge

    solver = Ridge(alpha=1 / C, solver="sparse_cg", tol=1e-6).fit(rows.x, rows.y, sample_weight=rows.weight)
    return solver.coef_.reshape(-1, 1), np.array([float(solver.intercept_)])
