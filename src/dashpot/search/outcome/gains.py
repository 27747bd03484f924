"""Gains with intervals, over folds or over the rows of one fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dashpot.evaluation.statistics import corrected_interval
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial

NORMAL = 1.96
"""Standard errors of a 95 % interval over many rows."""


@dataclass(frozen=True)
class Over:
    """What gains are the mean over.

    Attributes:
        scores: of a trial, low is good: one for each fold, or one for each row.
        interval: from as many gains to their mean and its 95 % interval.
    """

    scores: Callable[[Trial], np.ndarray]
    interval: Callable[[np.ndarray], dict[str, Any]]


def by_folds(trial: Trial) -> np.ndarray:
    """The score on each fold."""
    return np.array(trial.scores)


def interval(gain: np.ndarray) -> dict[str, Any]:
    """Mean and 95 % interval of differences by fold, which share training rows (Nadeau and Bengio 2003)."""
    values = [float(g) for g in gain]
    found = corrected_interval(values, 1 / max(len(values) - 1, 1))
    return {"difference": found.mean, "low": found.low, "high": found.high, "folds": values}


FOLDS = Over(by_folds, interval)


def over_rows(task: Task, fold: int) -> Over:
    """Over the held-out rows of one fold: how sure a gain is of the two networks that were trained, which says nothing
    of other training rows or seeds, but needs one training of each.
    """
    rows = task.folds[fold][1]
    given = task.weights(rows)
    weight = np.ones(len(rows)) if given is None else given

    def scores(trial: Trial) -> np.ndarray:
        return task.row_scores(trial.outputs[0], rows)

    def interval(gain: np.ndarray) -> dict[str, Any]:
        mean = float(np.average(gain, weights=weight))
        half = NORMAL * float(np.sqrt((weight**2 * (gain - mean) ** 2).sum()) / weight.sum())
        return {"difference": mean, "low": mean - half, "high": mean + half, "folds": [mean]}

    return Over(scores, interval)
