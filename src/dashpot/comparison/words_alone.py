"""Whether the words of a table's columns of texts say as much as a network that has all of its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from dashpot.comparison.reference_models import fit_reference, log_probabilities, seconds_at_most, words_alone
from dashpot.data import Prepared, Problem
from dashpot.evaluation.calibration import fit_temperature
from dashpot.evaluation.decision import Decision, fit_decision
from dashpot.evaluation.metrics import DEFAULT, METRICS, Metric

SECONDS, SHARE = 10.0, 0.05
"""It takes no longer, and no larger share of a budget."""
FEWEST = 500
"""Training rows that the linear model learns from at least, where there are so many; less time than these take is too
little.
"""
LEAST_R2 = 0.1
"""Of values the words must explain so much; of classes they must beat the most frequent one by two standard errors: in
accuracy, or where another metric counts the shares of the classes in log loss.
"""


def seconds_for(budget: float | None) -> float:
    """How long it may take in a training with a budget.

    >>> seconds_for(None), seconds_for(60.0)
    (10.0, 3.0)
    """
    return SECONDS if budget is None else min(SECONDS, SHARE * budget)


def words_beside(
    problem: Problem,
    prepared: Prepared,
    train: np.ndarray,
    valid: np.ndarray,
    answers: Callable[[], Tensor],
    *,
    metric: Metric | None = None,
    scale: float = 1.0,
    seconds: float = SECONDS,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """A linear model of the words alone, and what a network of all columns has on the same rows.

    Args:
        problem, prepared: a table.
        train: rows that the linear model learns from; evenly spread ones of them where there is no time for all.
        valid: held-out rows, which neither has learned from.
        answers: gives the network's outputs for them.
        metric: by which they are compared; by default accuracy, or R2 of values. Both have the temperature and the
            decision that suit it best on these rows.
        scale: of values, what standardized ones are multiplied with to be in the target's units.
        seconds: for all.
        note: told where it failed, and why.

    Returns:
        ``columns`` of texts, ``metric`` (its name), the number of ``rows``, the scores of ``words`` and ``table``, and
        ``enough``: whether the words are no worse, and say something at all. Empty where there are no texts among other
        columns, fewer than two held-out rows, or no time.
    """
    found = words_alone(problem, prepared)
    if found is None or len(valid) < 2 or prepared.y.ndim > 1 or seconds <= 0:
        return {}
    _, model, texts = found
    try:
        y, classes = prepared.y.numpy(), len(problem.classes)
        weight = None if prepared.weight is None else prepared.weight.numpy().astype("float64")
        taken = seconds_at_most(model, texts[train], y[train], _of(weight, train))
        if taken > seconds:
            count = int(len(train) * seconds / taken)
            if count < FEWEST:
                return {}
            train = np.sort(train)[np.linspace(0, len(train) - 1, count).astype(np.int64)]
        fit_reference(model, texts[train], y[train], _of(weight, train))
        held, by = _of(weight, valid), metric or METRICS[DEFAULT[problem.task]]
        truth, said = y[valid], _said(model, texts[valid], classes)
        words = _scored(by, said, truth, held, scale)
        table = _scored(by, answers().double().cpu().numpy(), truth, held, scale)
        some = _says_something(by, said, truth, held, y[train], _of(weight, train), classes)
    except Exception as error:  # whatever a library raises: the training counts
        note(f"the words alone could not be measured: {type(error).__name__}: {error}")
        return {}
    return {
        "columns": list(getattr(prepared.preprocessing, "text", ())),
        "metric": by.name,
        "rows": len(valid),
        "words": words,
        "table": table,
        "enough": bool(by.sign * words >= by.sign * table and some),
    }


def _said(model: Any, texts: np.ndarray, classes: int) -> np.ndarray:
    """Log probabilities [n, classes], or values [n]."""
    return log_probabilities(model, texts, classes) if classes else np.asarray(model.predict(texts), dtype=np.float64)


def _scored(metric: Metric, out: np.ndarray, y: np.ndarray, weight: np.ndarray | None, scale: float) -> float:
    if metric.kind == "value":
        return float(metric(scale * out.reshape(-1), scale * y, weight))
    # The most probable class is the same at any temperature.
    by = 1.0 if metric.name == "accuracy" else fit_temperature(out, y, weight=weight)
    p = Decision(temperature=by).probabilities(out)
    if metric.kind == "probability":
        return float(metric(p, y, weight))
    return float(metric(fit_decision(p, y, metric, temperature=by, weight=weight).decide(p), y, weight))


def _says_something(
    metric: Metric,
    out: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    known: np.ndarray,
    counts: np.ndarray | None,
    classes: int,
) -> bool:
    """Whether the words' answers are better than one that is the same for all rows.

    Args:
        known, counts: targets of the training rows, and the weights of these.
    """
    if not classes:
        return bool(METRICS["r2"](out, y, weight) >= LEAST_R2)
    count = np.bincount(known, weights=counts, minlength=classes)
    if metric.name == "accuracy":
        share = float(np.average(y == count.argmax(), weights=weight))
        gain, error = np.average(out.argmax(axis=1) == y, weights=weight) - share, share * (1 - share)
    else:
        p = Decision(temperature=fit_temperature(out, y, weight=weight)).probabilities(out)[np.arange(len(y)), y]
        each = np.log(np.maximum(p, 1e-12) * count.sum() / np.maximum(count, 1)[y])
        gain = np.average(each, weights=weight)
        error = np.average((each - gain) ** 2, weights=weight)
    return bool(gain >= 2 * (error / len(y)) ** 0.5)


def _of(weight: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[rows]
