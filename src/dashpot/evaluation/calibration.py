"""One temperature for all logits, fitted to held-out rows (Guo et al., "On Calibration of Modern Neural Networks", ICML
2017).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.core.fields.domains import Range, check_number
from dashpot.evaluation.checks import checked_codes

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: Any, y: Any, *, smoothing: float = 0.25, weight: np.ndarray | None = None) -> float:
    """The temperature in [0.05, 20] that minimises the log loss of held-out logits.

    Args:
        logits: [n, classes], finite, of rows that the model has not seen.
        y: codes [n]; a class may be missing.
        smoothing: this many rows' worth of truth is spread evenly over all rows and classes. Where all held-out
            rows are right, the loss would fall without end as the temperature does, although n right rows only show
            that about 1 in n is wrong at most. With 0, or many rows and some mistakes, it is the unsmoothed minimum.
        weight: of the rows [n], above 0; one of weight 2 counts as two rows.

    Raises:
        DataError: logits that are not finite, or lengths or codes that do not fit.

    Example:
        >>> round(fit_temperature([[4.0, 0.0]] * 4, [0, 0, 0, 1], smoothing=0), 3)  # 4 / T = log 3
        3.641
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[0] == 0 or z.shape[1] < 2:
        raise DataError(f"logits must be [rows, classes], with at least 1 row and 2 classes, got {list(z.shape)}.")
    if not np.isfinite(z).all():
        row = np.flatnonzero(~np.isfinite(z).all(axis=1))[0]
        raise DataError(
            f"logits must be finite, got {z[row].tolist()} in row {row}. Clip probabilities away from 0 before taking"
            " their logarithm."
        )
    codes = checked_codes(y, len(z), z.shape[1])
    each = np.ones(len(z)) if weight is None else weight
    total, part = each.sum(), each / each.sum()
    share = min(check_number("smoothing", smoothing, Range(0.0, math.inf)) / total, 1.0)
    z = z - z.max(axis=1, keepdims=True)
    target = (1 - share) * (part @ z[np.arange(len(z)), codes]) + share * (part @ z.mean(axis=1))

    def slope(log_sharpness: float) -> tuple[float, float]:
        """Of the loss along the sharpness, and how fast it changes along ``log_sharpness``."""
        sharpness = math.exp(log_sharpness)
        chance = np.exp(z * sharpness)
        mass = chance.sum(axis=1)
        chance *= z
        mean = chance.sum(axis=1) / mass
        chance *= z
        return float(part @ mean - target), sharpness * float(part @ (chance.sum(axis=1) / mass - mean**2))

    # The loss is convex in 1 / temperature, so that its slope changes sign once.
    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    with np.errstate(under="ignore"):
        if not z.any():
            return 1.0  # every temperature is the same
        if slope(low)[0] >= 0:
            return HIGHEST
        if slope(high)[0] <= 0:
            return LOWEST
        middle = 0.0
        for _ in range(50):
            value, change = slope(middle)
            low, high = (low, middle) if value > 0 else (middle, high)
            step = value / change if change > 0 else math.inf
            if abs(step) < 1e-10:
                break
            # Newton's step, or to the middle of the bracket where that would leave it.
            middle = middle - step if low < middle - step < high else (low + high) / 2
    return math.exp(-middle)
