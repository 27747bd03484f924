"""Whether the words of a table's columns of texts say as much as a network that has all of its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.comparison.reference_models import fit_reference, reference_scores, seconds_at_most, words_alone
from dashpot.data import Prepared, Problem
from dashpot.evaluation.losses import metrics_of

SECONDS, SHARE = 10.0, 0.05
"""It takes no longer, and no larger share of a budget."""
FEWEST = 500
"""Training rows that the linear model learns from at least, where there are so many; less time than these take is too
little.
"""
LEAST_R2 = 0.1
"""Of values the words must explain so much; of classes they must beat the most frequent one by two standard errors."""


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
    seconds: float = SECONDS,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """A linear model of the words alone, and what a network of all columns has on the same rows.

    Args:
        problem, prepared: a table.
        train: rows that the linear model learns from; evenly spread ones of them where there is no time for all.
        valid: held-out rows, which neither has learned from.
        answers: gives the network's outputs for them.
        seconds: for all.
        note: told where it failed, and why.

    Returns:
        ``columns`` of texts, ``metric`` (accuracy, or R2 of values), the number of ``rows``, the scores of ``words``
        and ``table``, and ``enough``: whether the words are no worse, and say something at all. Empty where there are
        no texts among other columns, fewer than two held-out rows, or no time.
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
        held, metric = _of(weight, valid), "accuracy" if classes else "r2"
        words = reference_scores(model, texts[valid], y[valid], held, classes=classes)[metric]
        counted = None if held is None else torch.from_numpy(held)
        out = answers().double().cpu()
        table = metrics_of(out if classes else out.reshape(-1), torch.from_numpy(y[valid]), weight=counted)[metric]
    except Exception as error:  # whatever a library raises: the training counts
        note(f"the words alone could not be measured: {type(error).__name__}: {error}")
        return {}
    least = LEAST_R2
    if classes:
        often = np.bincount(y[train], weights=_of(weight, train), minlength=classes).argmax()
        share = float(np.average(y[valid] == often, weights=held))
        least = share + 2 * (share * (1 - share) / len(valid)) ** 0.5
    return {
        "columns": list(getattr(prepared.preprocessing, "text", ())),
        "metric": metric,
        "rows": len(valid),
        "words": float(words),
        "table": float(table),
        "enough": bool(words >= max(table, least)),
    }


def _of(weight: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[rows]
