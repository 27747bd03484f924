"""Reference models of a comparison: linear models and boosted trees, by scikit-learn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dashpot.comparison.text_references import TextReference, text_references
from dashpot.core.threads import most
from dashpot.data import Prepared, Problem
from dashpot.data.rows import Rows
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.evaluation.losses import metrics_of
from dashpot.nets.margins import RIDGE

Model = Any
LARGE_TABLE = 2_000_000
"""Numbers of a table from which several threads gain; on smaller ones they wait for each other on a busy machine."""
FIRST = 3
"""Rounds of boosting by which the time of all is estimated."""
SOME = 500
"""Texts by which the time of all is estimated."""


SLOW = ("logistic regression, L1",)
"""References that may take minutes."""
SLOWEST = "histogram gradient boosting"
WORDS = {"classification": "linear SVM, words alone", "regression": "ridge regression, words alone"}
"""What stands beside a table with columns of texts."""


def references(task: str, *, quick: bool = False, kind: str = "table") -> dict[str, Callable[[int], Model]]:
    """Name -> function from the size of the problem (rows x features x outputs) to an unfitted model.

    Strengths are chosen by cross-validation inside the training rows. Large problems get fewer folds and a coarser
    grid, so that a reference model does not take longer than the networks.

    Args:
        quick: leave out those that may take minutes.
        kind: of data; those of ``"text"`` are for raw texts (:mod:`dashpot.comparison.text_references`).
    """
    if kind == "text":
        return text_references(task, quick=quick)
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LassoCV, LogisticRegressionCV, RidgeCV

    def logistic(l1: bool) -> Callable[[int], Model]:
        def make(size: int) -> Model:
            small = size < 1_000_000
            return LogisticRegressionCV(
                Cs=np.logspace(-3, 2, 8) if small else np.logspace(-3, 1, 4),
                l1_ratios=(1.0 if l1 else 0.0,),
                cv=5 if small else 3,
                solver="saga" if l1 else "lbfgs",
                scoring="neg_log_loss",
                max_iter=300 if l1 else 500,
                tol=1e-3 if l1 else 1e-4,
                random_state=0,
                use_legacy_attributes=False,
            )

        return make

    if task == "classification":
        found = {
            "logistic regression, L2": logistic(l1=False),
            "logistic regression, L1": logistic(l1=True),
            SLOWEST: lambda size: HistGradientBoostingClassifier(random_state=0),
        }
        return {name: make for name, make in found.items() if not (quick and name in SLOW)}
    return {
        "ridge regression": lambda size: RidgeCV(alphas=np.logspace(-3, 5, 33)),
        "lasso": lambda size: LassoCV(cv=5 if size < 1_000_000 else 3, random_state=0, max_iter=5000),
        SLOWEST: lambda size: HistGradientBoostingRegressor(random_state=0),
    }


def words_alone(problem: Problem, prepared: Prepared) -> tuple[str, TextReference, np.ndarray] | None:
    """Of a table with columns of texts a linear model on TF-IDF of these, which networks have as topics: its name, the
    unfitted model, and what it learns from, objects [n, columns]. None for other data.
    """
    how, inputs = prepared.preprocessing, problem.inputs
    if not isinstance(how, Preprocessing) or not how.text or not isinstance(inputs, Rows):
        return None
    texts = np.stack([inputs.column(name) for name in how.text], axis=1)
    return WORDS[problem.task], TextReference("svm" if problem.classes else RIDGE), texts


def reference_inputs(problem: Problem, prepared: Prepared) -> np.ndarray:
    """What references learn from: standardized numbers float64 [n, features], or raw texts, objects [n, columns]."""
    if problem.kind == "text":
        return np.asarray(problem.inputs, dtype=object)
    return np.asarray(prepared.standardized().flatten(1).numpy().astype(np.float64))


def seconds_at_most(model: Model, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Estimated seconds of boosted trees, from their first rounds: with hundreds of columns and several classes it may
    be minutes; and of a model of raw texts, from some of them. 0 for other models.
    """
    if isinstance(model, TextReference):
        if len(y) <= SOME:
            return 0.0
        some, started = np.linspace(0, len(y) - 1, SOME).astype(np.int64), time.perf_counter()
        replace(model).fit(x[some], y[some], None if weight is None else weight[some])
        return (time.perf_counter() - started) * len(y) / SOME
    from sklearn.base import clone
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if not isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return 0.0
    started = time.perf_counter()
    clone(model).set_params(max_iter=FIRST).fit(x, y, sample_weight=weight)
    return (time.perf_counter() - started) * float(model.max_iter) / FIRST


def fit_reference(model: Model, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> str:
    """Fit in place; returns a note if a solver stopped short of its tolerance. Weights are scikit-learn's
    ``sample_weight``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    threads = most() if x.size >= LARGE_TABLE else 1
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        model.fit(x, y, sample_weight=weight)
    short = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    note = "the solver stopped short of its tolerance for some strengths" if short else ""
    return "; ".join(filter(None, (note, getattr(model, "note", ""))))


def log_probabilities(model: Model, x: np.ndarray, classes: int) -> np.ndarray:
    """[rows, classes]; a class that was not among the model's training rows has the probability 1e-12."""
    probability = np.full((len(x), classes), 1e-12)
    probability[:, model.classes_] = np.maximum(model.predict_proba(x), 1e-12)
    return np.asarray(np.log(probability))


def reference_scores(
    model: Model, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, *, classes: int
) -> dict[str, float]:
    """The same scores as for networks."""
    import torch

    counts = None if weight is None else torch.from_numpy(weight)
    if classes:
        out = torch.from_numpy(log_probabilities(model, x, classes))
        return metrics_of(out, torch.from_numpy(y), weight=counts)
    return metrics_of(torch.from_numpy(model.predict(x)), torch.from_numpy(y.astype(np.float64)), weight=counts)


def reference_zeros(model: Model) -> float | None:
    """The share of coefficients that are exactly zero, for linear models."""
    coefficients = getattr(model, "coef_", None)
    return None if coefficients is None else float(np.mean(np.asarray(coefficients) == 0))
