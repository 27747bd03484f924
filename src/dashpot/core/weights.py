"""Weights of rows: checked once, where they come in."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dashpot.core.errors import DataError


def checked_weights(name: str, weight: Any, rows: int) -> np.ndarray:
    """Weights as float64 [rows]. A row of weight 0 is absent, one of weight 2 counts as two rows.

    Args:
        name: as the caller knows them.
        weight: numbers [rows]: an array, a tensor, a list or a column of a frame.

    Raises:
        DataError: other lengths, text, NaN, infinity, a number below 0, or no number above 0.

    Example:
        >>> checked_weights("sample_weight", [1, 0, 2], 3)
        array([1., 0., 2.])
    """
    given = weight.detach().cpu().numpy() if isinstance(weight, Tensor) else weight
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} must be numbers, one for each row, got {type(weight).__name__} of other things."
        ) from None
    if values.shape != (rows,):
        raise DataError(f"{name} must be one number for each of the {rows} rows, got shape {list(values.shape)}.")
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(
            f"{name} must be finite numbers >= 0, got {values[bad[0]]:g} in row {bad[0] + 1}. Give a row that should"
            " not count the weight 0."
        )
    if not values.any():
        raise DataError(f"{name} must be above 0 in some row, got 0 in all {rows}.")
    return values


def as_counts(weight: np.ndarray) -> np.ndarray | None:
    """Checked weights above 0 as numbers of rows: whole numbers as they are, others so that their mean is 1, since only
    their ratios mean something. None where all are the same.

    Example:
        >>> as_counts(np.array([1.0, 3.0])), as_counts(np.array([0.1, 0.3])), as_counts(np.array([0.5, 0.5]))
        (array([1., 3.]), array([0.5, 1.5]), None)
    """
    if (weight == weight[0]).all():
        return None
    if (weight != np.round(weight)).any():
        weight = weight / weight.max()  # so that the sum is finite
        weight = weight / weight.mean()
    return weight
