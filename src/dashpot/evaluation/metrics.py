"""Metrics by name: what each measures, which direction is better, and what it is computed from."""

from __future__ import annotations

import inspect
import math
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
        function: of arrays that have been checked, predictions first, then the truth, then the weights of the rows
            where there are any. One without that third argument serves data without weights.
        binary: whether it is of two classes only.
        label: for tables and figures; by default the name in words.
        bounds: the least and the greatest value that it can have.

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
    function: Callable[..., float]
    binary: bool = False
    label: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def __call__(self, predicted: Any, truth: Any, weight: np.ndarray | None = None) -> float:
        """The score; ``weight``: of the rows [n], above 0: one of weight 2 counts twice."""
        if self.kind == "value":
            predicted, truth = checked_values(predicted, truth)
        else:
            classes = 0
            if self.kind == "probability":
                predicted = checked_probabilities(predicted)
                classes = predicted.shape[1]
            else:
                predicted = checked_codes(predicted, name="predicted codes")
            truth = checked_codes(truth, len(predicted), classes)
        return float(self.function(predicted, truth) if weight is None else self.function(predicted, truth, weight))

    @property
    def takes_weights(self) -> bool:
        """Whether its function has a third argument, for the weights of rows."""
        try:
            inspect.signature(self.function).bind(0, 0, 0)
        except (TypeError, ValueError):
            return False
        return True

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is: ``sign * score`` is always to be raised."""
        return 1.0 if self.better == "higher" else -1.0


Weight = np.ndarray | None


def accuracy(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """The share of right decisions."""
    return float(np.average(predicted == y, weights=weight))


def balanced_accuracy(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """The mean recall over the classes that occur in ``y``."""
    count = np.bincount(y, weights=weight)
    hits = np.bincount(y, weights=(predicted == y) * (1.0 if weight is None else weight))
    return float((hits[count > 0] / count[count > 0]).mean())


def f1_per_class(predicted: np.ndarray, y: np.ndarray, classes: int = 0, weight: Weight = None) -> np.ndarray:
    """``2 hits / (predicted + true)`` [classes, or as many as the codes go up to]; NaN for a class that is neither."""
    size = max(int(predicted.max()) + 1, int(y.max()) + 1, classes)
    hits = np.bincount(y, weights=(predicted == y) * (1.0 if weight is None else weight), minlength=size)
    total = np.bincount(predicted, weight, minlength=size) + np.bincount(y, weight, minlength=size)
    return np.where(total > 0, 2 * hits / np.where(total > 0, total, 1), np.nan)


def f1_macro(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """The mean F1 over the classes that occur or are predicted, as scikit-learn's ``average="macro"``."""
    return float(np.nanmean(f1_per_class(predicted, y, weight=weight)))


def rarer_class(y: np.ndarray, weight: Weight = None) -> int:
    """The class of two that has fewer rows, or less weight; class 1 if they have as many."""
    return int(2 * np.average(y == 1, weights=weight) <= 1)


def f1(predicted: np.ndarray, y: np.ndarray, weight: Weight = None, positive: int | None = None) -> float:
    """F1 of one of two classes: ``positive``, or the rarer one in ``y`` (class 1 on a tie). 0 if it neither occurs nor
    is predicted.

    Raises:
        ConfigError: a code above 1.
    """
    if max(predicted.max(), y.max()) > 1:
        raise ConfigError("metric", "one for more than two classes, such as f1_macro", "f1")
    found = f1_per_class(predicted, y, 2, weight)[rarer_class(y, weight) if positive is None else positive]
    return float(np.nan_to_num(found))


def log_loss(p: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """Mean ``-log p`` of the true class; probabilities are clipped to [eps, 1 - eps] of their own type, as in
    scikit-learn.
    """
    eps = np.finfo(p.dtype).eps
    each = -np.log(np.clip(p[np.arange(len(y)), y].astype(np.float64), eps, 1 - eps))
    return float(np.average(each, weights=weight))


def brier(p: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """Mean squared distance between probabilities and truth, summed over classes; half of that for two classes, as in
    scikit-learn.
    """
    distance = (p.astype(np.float64) - np.eye(p.shape[1])[y]) ** 2
    return float(np.average(distance.sum(axis=1), weights=weight)) / (2 if p.shape[1] == 2 else 1)


def roc_auc(p: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """The chance that a row of a class gets more of that class's probability than a row of another; ties count half.
    One against the rest, mean over the classes that occur.

    Raises:
        DataError: only one class occurs.
    """
    occur = np.unique(y)
    if len(occur) < 2:
        raise DataError(f"roc_auc needs rows of at least 2 classes, got only class {occur[0]}.")
    # Of two columns that sum to 1 the first says nothing new, but for rounding.
    occur = np.array([1]) if p.shape[1] == 2 else occur
    each = np.ones(len(y)) if weight is None else weight
    found = []
    for c in occur:
        values, place = np.unique(p[:, c], return_inverse=True)
        own = np.bincount(place, each * (y == c), minlength=len(values))
        rest = np.bincount(place, each * (y != c), minlength=len(values))
        found.append((own * (np.cumsum(rest) - rest / 2)).sum() / (own.sum() * rest.sum()))
    return float(np.mean(found))


def r2(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """The share of variance explained, pooled over outputs; for a constant target 1 if it is hit exactly, else 0."""
    center = np.average(y, axis=0, weights=weight)
    error, spread = (_mean((y - other) ** 2, weight) for other in (predicted, center))
    return 1 - error / spread if np.ptp(y, axis=0).any() and spread > 0 else float(error == 0)


def rmse(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """Root mean squared error, in the target's units."""
    return float(np.sqrt(_mean((y - predicted) ** 2, weight)))


def mae(predicted: np.ndarray, y: np.ndarray, weight: Weight = None) -> float:
    """Mean absolute error, in the target's units."""
    return _mean(np.abs(y - predicted), weight)


def _mean(values: np.ndarray, weight: Weight) -> float:
    """Over all values [n, ...], by row."""
    return float(np.average(values.reshape(len(values), -1).mean(axis=1), weights=weight))


SHARE, ERROR = (0.0, 1.0), (0.0, math.inf)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", "higher", "decision", accuracy, bounds=SHARE),
        Metric("balanced_accuracy", "classification", "higher", "decision", balanced_accuracy, bounds=SHARE),
        Metric("f1", "classification", "higher", "decision", f1, binary=True, label="F1", bounds=SHARE),
        Metric("f1_macro", "classification", "higher", "decision", f1_macro, label="macro F1", bounds=SHARE),
        Metric("log_loss", "classification", "lower", "probability", log_loss, bounds=ERROR),
        Metric("brier", "classification", "lower", "probability", brier, bounds=(0.0, 2.0)),
        Metric("roc_auc", "classification", "higher", "probability", roc_auc, label="ROC AUC", bounds=SHARE),
        Metric("r2", "regression", "higher", "value", r2, label="R²", bounds=(-math.inf, 1.0)),
        Metric("rmse", "regression", "lower", "value", rmse, label="RMSE", bounds=ERROR),
        Metric("mae", "regression", "lower", "value", mae, label="MAE", bounds=ERROR),
    )
}


def bounds_of(name: str, *, difference: bool = False) -> tuple[float, float]:
    """Between which values a score lies, or the difference of two; without bounds where its name is not known.

    >>> bounds_of("accuracy"), bounds_of("accuracy", difference=True), bounds_of("rmse", difference=True)
    ((0.0, 1.0), (-1.0, 1.0), (-inf, inf))
    """
    low, high = METRICS[name].bounds if name in METRICS else (-math.inf, math.inf)
    return (low - high, high - low) if difference else (low, high)


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
