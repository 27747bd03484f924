"""Cross-validation: the folds, and the two usual choices from what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.scores import is_classification


def folds(y: Tensor, cv: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shuffled folds as (training rows, validation rows), stratified where there are classes.

    Raises:
        ConfigError: more folds than rows, or than rows of a class.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    labels = y.cpu().numpy()
    if is_classification(y) and y.ndim == 1:
        classes, counts = np.unique(labels, return_counts=True)
        if cv > counts.min():
            rule = f"at most {counts.min()}, the rows of class {classes[counts.argmin()]}"
            raise ConfigError("cv", rule, cv, "Take fewer folds, or merge or remove that class.")
        splitter: Any = StratifiedKFold(cv, shuffle=True, random_state=seed)
    else:
        if 2 * cv > len(labels):
            raise ConfigError("cv", f"at most {len(labels) // 2}, half the number of rows, so that each fold can be scored", cv, "Take fewer folds.")
        splitter = KFold(cv, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels))


def choose(losses: np.ndarray, scores: np.ndarray) -> tuple[int, int]:
    """The point of the lowest mean loss, and the strongest penalty that cannot be told from it.

    The second is the first point whose folds, each compared with the same fold of the first, are less than one standard error worse on average, in
    loss and in score. Compared in pairs, since folds differ far more from one another than strengths do within a fold: one bad fold would make the
    usual standard error so wide that it lets poor models through.

    Args:
        losses, scores: [folds, points], strong penalties first; low losses and high scores are good.

    >>> losses = np.array([[3.0, 1.3, 1.0, 1.1], [5.0, 2.0, 2.1, 2.2], [9.0, 5.2, 5.0, 5.1]])
    >>> choose(losses, -losses)
    (2, 2)
    >>> choose(losses - np.array([0, 0.07, 0, 0]), -losses + np.array([0, 0.07, 0, 0]))
    (2, 1)
    """
    mean = np.where(np.isfinite(losses).all(axis=0), losses.mean(axis=0), np.inf)
    best = int(mean.argmin())
    fine = np.isfinite(mean)
    for worse in (losses - losses[:, [best]], scores[:, [best]] - scores):
        with np.errstate(invalid="ignore"):
            gap = worse.mean(axis=0)
            error = worse.std(axis=0, ddof=1) / np.sqrt(len(worse))
            # Where a single fold differs, the gap is its own standard error: that is not less.
            fine &= (gap <= 0) | (gap < error * (1 - 1e-9))
    fine[best] = True
    return best, int(np.flatnonzero(fine)[0])
