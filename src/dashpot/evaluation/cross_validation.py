"""Cross-validation: the folds, and the two usual choices by their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.evaluation.losses import is_classification
from dashpot.evaluation.statistics import standard_error, within_one_standard_error

FOLDS = 5
"""Where nobody says how many."""


def folds(y: Tensor, cv: int | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shuffled folds as (training rows, validation rows), stratified where there are classes.

    Args:
        cv: how many; None: :data:`FOLDS`, also where a class has fewer rows: each of these is then in a fold of its
            own, as far as it goes, and of two folds none has more rows of all such classes than another, but for one.

    Raises:
        ConfigError: more folds than rows, or than rows of a class.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    labels = y.cpu().numpy()
    if is_classification(y) and y.ndim == 1:
        classes, counts = np.unique(labels, return_counts=True)
        if cv is None and counts.min() < FOLDS:
            return _dealt(labels, min(FOLDS, len(labels)), seed)
        cv = cv or FOLDS
        if cv > counts.min():
            rule = f"at most {counts.min()}, the rows of class {classes[counts.argmin()]}"
            raise ConfigError("cv", rule, cv, "Take fewer folds, or merge or remove that class.")
        splitter: Any = StratifiedKFold(cv, shuffle=True, random_state=seed)
    else:
        cv = cv or max(2, min(FOLDS, len(labels) // 2))
        if 2 * cv > len(labels):
            raise ConfigError(
                "cv",
                f"at most {len(labels) // 2}, half the number of rows, so that each fold can be scored",
                cv,
                "Take fewer folds.",
            )
        splitter = KFold(cv, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels))


def _dealt(labels: np.ndarray, cv: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of one class after another, shuffled, dealt out to the folds like cards: each fold has as many rows of a
    class as any other, and as many in all, but for one.
    """
    shuffled = np.random.default_rng([seed, 0xF01D]).permutation(len(labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % cv
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(cv)]


def enough_rows(counts: np.ndarray, cv: int) -> None:
    """Refuse more folds than a class has rows.

    Raises:
        ConfigError: naming both.
    """
    if len(counts) and cv > counts.min():
        raise ConfigError(
            "cv",
            f"at most {counts.min()}, the rows of the smallest class",
            cv,
            "Take fewer folds, or merge or remove that class.",
        )


def choose(losses: np.ndarray, scores: np.ndarray) -> tuple[int, int]:
    """The point of the lowest mean loss, and the one-standard-error choice (Breiman et al. 1984), guarded by the score.

    The second is the strongest penalty whose mean loss is within one standard error of the lowest, and whose score is
    less than one standard error below that of the lowest loss, fold by fold. The guard is there since one bad fold can
    make the standard error of the loss so wide that poor models pass; folds differ far more from one another than
    strengths do within a fold, so that comparing them in pairs is not fooled.

    Args:
        losses, scores: [folds, points], strong penalties first; low losses and high scores are good.

    >>> losses = np.array([[3.0, 1.3, 1.0, 1.1], [5.0, 2.0, 2.1, 2.2], [9.0, 5.2, 5.0, 5.1]])
    >>> choose(losses, np.zeros((3, 4)))
    (2, 1)
    >>> choose(losses, -losses)
    (2, 2)
    """
    mean = np.where(np.isfinite(losses).all(axis=0), losses.mean(axis=0), np.inf)
    best = int(mean.argmin())
    spread = float(standard_error(losses[:, best])) if np.isfinite(mean[best]) else 0.0
    fine = (mean <= mean[best] + spread) & within_one_standard_error(scores[:, [best]] - scores, inclusive=False)
    fine[best] = True
    return best, int(np.flatnonzero(fine)[0])
