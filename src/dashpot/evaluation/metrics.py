"""Metrics by name: what each measures, which direction is better, and what it is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from dashpot.core.errors import ConfigError, DataError, UnknownNameError
from dashpot.evaluation.checks import checked_codes, checked_probabilities, checked_values

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Metric:
    """A score of predictions against the truth.

    Args:
        name: its name in :data:`METRICS`.
        task: ``"classification"`` or ``"regression"``.
        better: ``"higher"`` or ``"lower"``.
        kind: what it scores. ``"probability"``: probabilities [n, classes] against codes [n]; ``"decision"``: predicted
            codes [n] against codes [n]; ``"value"``: values [n] or [n, k] against values of the same shape.
        function: of arrays that have been checked, predictions first.
        binary: whether it is of two classes only.
        label: for tables and figures; by default the name in words.

    Raises:
        DataError: when called: no rows, lengths that differ, NaN, probabilities that do not sum to 1, codes that are no
            whole numbers from 0.

    Example:
        >>> METRICS["accuracy"]([0, 1, 1], [0, 1, 0])
        0.6666666666666666
        >>> METRICS["rmse"]([1.0, 2.0], [1.0, 4.0]), METRICS["rmse"].better
        (1.4142135623730951, 'lower')
    """

    name: str
    task: Task
    better: Literal["higher", "lower"]
    kind: Literal["probability", "decision", "value"]
    function: Callable[[np.ndarray, np.ndarray], float]
    binary: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def __call__(self, predicted: Any, truth: Any) -> float:
        if self.kind == "value":
            return float(self.function(*checked_values(predicted, truth)))
        classes = 0
        if self.kind == "probability":
            predicted = checked_probabilities(predicted)
            classes = predicted.shape[1]
        else:
            predicted = checked_codes(predicted, name="predicted codes")
        truth = checked_codes(truth, len(predicted), classes)
        return float(self.function(predicted, truth))

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is: ``sign * score`` is always to be raised."""
        return 1.0 if self.better == "higher" else -1.0


def accuracy(predicted: np.ndarray, y: np.ndarray) -> float:
    """The share of right decisions."""
    return float((predicted == y).mean())


def balanced_accuracy(predicted: np.ndarray, y: np.ndarray) -> float:
    """The mean recall over the classes that occur in ``y``."""
    count = np.bincount(y)
    recall = np.bincount(y, weights=predicted == y)[count > 0] / count[count > 0]
    return float(recall.mean())


def f1_per_class(predicted: np.ndarray, y: np.ndarray, classes: int = 0) -> np.ndarray:
    """``2 hits / (predicted + true)`` [classes, or as many as the codes go up to]; NaN for a class that is neither."""
    size = max(int(predicted.max()) + 1, int(y.max()) + 1, classes)
    hits = np.bincount(y, weights=predicted == y, minlength=size)
    total = np.bincount(predicted, minlength=size) + np.bincount(y, minlength=size)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), np.nan)


def f1_macro(predicted: np.ndarray, y: np.ndarray) -> float:
    """The mean F1 over the classes that occur or are predicted, as scikit-learn's ``average="macro"``."""
    return float(np.nanmean(f1_per_class(predicted, y)))


def rarer_class(y: np.ndarray) -> int:
    """The class of two that has fewer rows; class 1 if they have as many."""
    return int(2 * (y == 1).sum() <= len(y))


def f1(predicted: np.ndarray, y: np.ndarray, positive: int | None = None) -> float:
    """F1 of one of two classes: ``positive``, or the rarer one in ``y`` (class 1 on a tie). 0 if it neither occurs nor
    is predicted.

    Raises:
        ConfigError: a code above 1.
    """
    if max(predicted.max(), y.max()) > 1:
        raise ConfigError("metric", "one for more than two classes, such as f1_macro", "f1")
    positive = rarer_class(y) if positive is None else positive
    total = (predicted == positive).sum() + (y == positive).sum()
    return 2 * float(((predicted == positive) & (y == positive)).sum()) / max(float(total), 1.0)


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Mean ``-log p`` of the true class; probabilities are clipped to [eps, 1 - eps] of their own type, as in
    scikit-learn.
    """
    eps = np.finfo(p.dtype).eps
    return float(-np.log(np.clip(p[np.arange(len(y)), y].astype(np.float64), eps, 1 - eps)).mean())


def brier(p: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance between probabilities and truth, summed over classes; half of that for two classes, as in
    scikit-learn.
    """
    distance = (p.astype(np.float64) - np.eye(p.shape[1])[y]) ** 2
    return float(distance.sum(axis=1).mean()) / (2 if p.shape[1] == 2 else 1)


def roc_auc(p: np.ndarray, y: np.ndarray) -> float:
    """The chance that a row of a class gets more of that class's probability than a row of another; ties count half.
    One against the rest, mean over classes.

    Raises:
        DataError: only one class occurs.
    """
    from scipy.stats import rankdata

    count = np.bincount(y, minlength=p.shape[1]).astype(np.float64)
    occur = np.flatnonzero(count)
    if len(occur) < 2:
        raise DataError(f"roc_auc needs rows of at least 2 classes, got only class {occur[0]}.")
    # Of two columns that sum to 1 the first says nothing new, but for rounding.
    occur = np.array([1]) if p.shape[1] == 2 else occur
    above = np.array([rankdata(p[:, c])[y == c].sum() for c in occur]) - count[occur] * (count[occur] + 1) / 2
    return float((above / (count[occur] * (len(y) - count[occur]))).mean())


def r2(predicted: np.ndarray, y: np.ndarray) -> float:
    """The share of variance explained, pooled over outputs; for a constant target 1 if it is hit exactly, else 0."""
    error, spread = ((y - predicted) ** 2).sum(), ((y - y.mean(axis=0)) ** 2).sum()
    return 1 - float(error / spread) if spread > 0 else float(error == 0)


def rmse(predicted: np.ndarray, y: np.ndarray) -> float:
    """Root mean squared error, in the target's units."""
    return float(np.sqrt(((y - predicted) ** 2).mean()))


def mae(predicted: np.ndarray, y: np.ndarray) -> float:
    """Mean absolute error, in the target's units."""
    return float(np.abs(y - predicted).mean())


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", "higher", "decision", accuracy),
        Metric("balanced_accuracy", "classification", "higher", "decision", balanced_accuracy),
        Metric("f1", "classification", "higher", "decision", f1, binary=True, label="F1"),
        Metric("f1_macro", "classification", "higher", "decision", f1_macro, label="macro F1"),
        Metric("log_loss", "classification", "lower", "probability", log_loss),
        Metric("brier", "classification", "lower", "probability", brier),
        Metric("roc_auc", "classification", "higher", "probability", roc_auc, label="ROC AUC"),
        Metric("r2", "regression", "higher", "value", r2, label="R²"),
        Metric("rmse", "regression", "lower", "value", rmse, label="RMSE"),
        Metric("mae", "regression", "lower", "value", mae, label="MAE"),
    )
}


DEFAULT = {"classification": "accuracy", "regression": "r2"}
"""The default metric of each task; higher is better."""


def find_metric(name: str | Metric, task: str, classes: int = 0) -> Metric:
    """The metric of that name, if it fits the task; a :class:`Metric` is taken as it is, if it fits.

    Args:
        name: one of :data:`METRICS`, or a metric of your own.
        task: ``"classification"`` or ``"regression"``.
        classes: how many there are, if that is known: ``f1`` is for two.

    Raises:
        UnknownNameError: no such metric.
        ConfigError: one for another task, or for two classes only; those that fit are named.

    >>> find_metric("r2", "regression").better
    'higher'
    """
    if task not in ("classification", "regression"):
        raise ConfigError("task", "one of classification, regression", task)
    fitting = [
        metric.name for metric in METRICS.values() if metric.task == task and not (metric.binary and classes > 2)
    ]
    if isinstance(name, str) and name not in METRICS:
        raise UnknownNameError("metric", name, fitting)
    metric = METRICS[name] if isinstance(name, str) else name
    if not isinstance(metric, Metric):
        raise ConfigError("metric", f"a Metric or its name: one of {', '.join(fitting)}", name)
    if metric.task != task:
        raise ConfigError("metric", f"one for {task} ({', '.join(fitting)})", metric.name)
    if metric.binary and classes > 2:
        raise ConfigError("metric", f"one for {classes} classes ({', '.join(fitting)})", metric.name)
    return metric


def positive_of(metric: Metric) -> int | None:
    """The fixed positive class of an ``f1``, or None."""
    told = metric.function.keywords.get("positive") if isinstance(metric.function, partial) else None
    return None if told is None else int(told)


def with_positive(metric: Metric, positive: int) -> Metric:
    """``f1`` with a fixed positive class, the same in every part of the data;
    other metrics are returned as they are.

    >>> with_positive(METRICS["f1"], 0)([0, 0, 0, 1], [0, 0, 1, 1]), METRICS["f1"]([0, 0, 0, 1], [0, 0, 1, 1])
    (0.8, 0.6666666666666666)
    """
    if not metric.binary:
        return metric
    if positive not in (0, 1):
        raise ConfigError("positive", "0 or 1, the code of a class", positive)
    return replace(metric, function=partial(f1, positive=int(positive)))


def proper_of(metric: str | Metric) -> Metric:
    """The proper score to train and rank models by when the aim is ``metric``: ``log_loss`` for classification,
    ``rmse`` for regression.

    Decisions are fitted to the metric afterwards (:mod:`dashpot.evaluation.decision`): a count of right decisions is
    too coarse to rank models on few rows.

    >>> proper_of("balanced_accuracy").name, proper_of("mae").name
    ('log_loss', 'rmse')
    """
    if isinstance(metric, str) and metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    task = (METRICS[metric] if isinstance(metric, str) else metric).task
    return METRICS["log_loss" if task == "classification" else "rmse"]
