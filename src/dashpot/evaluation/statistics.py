"""Intervals and the one-standard-error rule, for scores that are compared in pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashpot.core.errors import DataError


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        mean: the estimate.
        low, high: the bounds; None where one run says nothing about spread.
    """

    mean: float
    low: float | None
    high: float | None


def corrected_interval(
    differences: Sequence[float],
    test_share: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """The mean of paired differences over repeated random splits, with an interval that allows for overlapping training
    sets.

    The corrected resampled t test of Nadeau and Bengio (Machine Learning 2003): the variance of the mean is ``(1 / R +
    n_test / n_train) * s^2``, not ``s^2 / R``, since repeats share most of their training rows.

    Args:
        differences: one per repeat.
        test_share: ``n_test / n_train``.
        level: the share of intervals that should cover the truth.
        bounds: of what is averaged: no mean lies beyond them, so that the interval ends there.

    Raises:
        DataError: there is no difference.

    Example:
        >>> interval = corrected_interval([0.01, 0.03, 0.02], test_share=1 / 3)
        >>> print(f"{interval.mean:.3f} [{interval.low:.4f}, {interval.high:.4f}]")
        0.020 [-0.0151, 0.0551]
        >>> corrected_interval([0.5, 1.0], test_share=0.0, bounds=(0.0, 1.0))
        Interval(mean=0.75, low=0.0, high=1.0)
    """
    from scipy.special import stdtrit  # scipy.stats takes a second to load

    if not differences:
        raise DataError("differences must hold at least one number, got none. Compare on one split or more.")
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Interval(mean, None, None)
    spread = statistics.stdev(differences) * math.sqrt(1 / len(differences) + test_share)
    half = float(stdtrit(len(differences) - 1, (1 + level) / 2)) * spread
    return Interval(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def standard_error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean over the first axis, ``s / sqrt(n)`` with ``n - 1`` in ``s``.

    >>> float(standard_error(np.array([1.0, 2.0, 3.0])).round(4))
    0.5774
    """
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def within_one_standard_error(gaps: np.ndarray, *, inclusive: bool) -> np.ndarray:
    """Whether a model is not clearly worse than the best: the one-standard-error rule (Breiman et al., "Classification
    and Regression Trees", 1984), by differences fold by fold.

    Folds differ far more from each other than models do within a fold, so the error is that of the paired differences.

    Args:
        gaps: how much worse than the best, [folds, ...].
        inclusive: whether a gap of exactly one standard error is within it. A difference in a single fold is its own
            standard error, whatever its size: a simpler model may be taken all the same, a guard must not let it pass.

    Returns:
        True where the mean gap is at most 0 or within one standard error, to rounding.

    >>> gaps = np.array([[0.1, 0.3, 0.0], [-0.1, 0.2, 0.0], [0.1, 0.4, 0.3]])
    >>> within_one_standard_error(gaps, inclusive=False).tolist()
    [True, False, False]
    >>> within_one_standard_error(gaps, inclusive=True).tolist()
    [True, False, True]
    """
    with np.errstate(invalid="ignore"):
        mean, error = gaps.mean(axis=0), standard_error(gaps)
        return np.asarray((mean <= 0) | (mean < error * (1 + (1e-9 if inclusive else -1e-9))))
