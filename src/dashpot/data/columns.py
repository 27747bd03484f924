"""Statistics of a table's columns, and checks that a column has any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.rows import Levels

MAX_LEVELS = 100
OTHER = "(other)"


def demand_finite(names: list[str] | tuple[str, ...], block: np.ndarray) -> None:
    """Refuse infinity; missing values (NaN) are fine."""
    infinite = np.isinf(block)
    if infinite.any():
        column = int(infinite.any(axis=0).argmax())
        count = int(infinite[:, column].sum())
        raise DataError(
            f"column {names[column]!r} must hold finite numbers, got infinity in {count} rows. Correct them or leave"
            " them empty."
        )


def demand_finite_spread(names: list[str], block: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> None:
    for i in np.flatnonzero(~(np.isfinite(mean) & np.isfinite(scale))):
        values = np.abs(block[~np.isnan(block[:, i]), i])
        if len(values):
            raise DataError(
                f"column {names[i]!r} must hold numbers with a finite spread, got values up to {values.max():g}. Divide"
                " them, or take logarithms."
            )


def by_column(statistic: Callable[..., np.ndarray], block: np.ndarray, missing: np.ndarray, *args: Any) -> np.ndarray:
    """A statistic of the values that each column has; NaN where it has none. NumPy's own for NaN goes column by column,
    which is slow for thousands.
    """
    gaps = missing.any(axis=0)
    out = np.full((*np.shape(args[0]), block.shape[1]) if args else block.shape[1], np.nan)
    if not gaps.all():
        out[..., ~gaps] = statistic(block[:, ~gaps] if gaps.any() else block, *args, axis=0)
    for i in np.flatnonzero(gaps & ~missing.all(axis=0)):
        out[..., i] = statistic(block[~missing[:, i], i], *args)
    return out


def spread(block: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The distance of the quartiles; half the range where they are the same; 1 where nothing varies."""
    low, first, third, high = by_column(np.quantile, block, missing, [0.0, 0.25, 0.75, 1.0])
    # A distance that is only rounding would blow the rest up.
    apart = third - first > 1e-12 * np.maximum(np.abs(first), np.abs(third))
    distance = np.where(apart, third - first, (high - low) / 2)
    return np.where(distance > 0, distance, 1.0)


def frequent(column: Levels, rows: np.ndarray) -> tuple[str, ...]:
    """The levels of ``rows`` in order: the most frequent ones, of equals the first ones, then ``(other)`` if any are
    left.
    """
    codes, first, counts = np.unique(column.codes[rows], return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))[:MAX_LEVELS]
    levels = sorted(column.names[code] for code in codes[order])
    return (*levels, OTHER) if len(codes) > MAX_LEVELS else tuple(levels)
