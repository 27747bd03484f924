"""Statistics of a table's columns, and checks that a column has any."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.tables.columnar import DataWarning, Levels, Rows

MAX_LEVELS = 100
OTHER = "(other)"
LARGE = 2.0**53


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


def by_column(
    statistic: Callable[..., np.ndarray],
    block: np.ndarray,
    missing: np.ndarray,
    *args: Any,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """A statistic of the values that each column has; NaN where it has none. NumPy's own for NaN goes column by column,
    which is slow for thousands. With weights, the statistic is called with those of the values that are there, too.
    """
    gaps = missing.any(axis=0)
    out = np.full((*np.shape(args[0]), block.shape[1]) if args else block.shape[1], np.nan)

    def of(values: np.ndarray, rows: Any) -> np.ndarray:
        own = {} if weight is None else {"weight": weight[rows]}
        return statistic(values, *args, axis=0, **own)

    if not gaps.all():
        out[..., ~gaps] = of(block[:, ~gaps] if gaps.any() else block, slice(None))
    for i in np.flatnonzero(gaps & ~missing.all(axis=0)):
        there = ~missing[:, i]
        out[..., i] = of(block[there, i], there)
    return out


def weighted_quantile(values: np.ndarray, at: Any, axis: int = 0, *, weight: np.ndarray) -> np.ndarray:
    """Quantiles along the first axis as ``np.quantile`` gives them for rows that are repeated ``weight`` times; numbers
    between whole ones are filled in evenly.

    Example:
        >>> values, weight = np.array([5.0, 1.0, 2.0]), np.array([1, 1, 3])
        >>> weighted_quantile(values, [0.25, 0.5, 0.75], weight=weight), np.quantile([1, 2, 2, 2, 5], [0.25, 0.5, 0.75])
        (array([2., 2., 2.]), array([2., 2., 2.]))
    """
    flat = values.reshape(len(values), -1)
    order = np.argsort(flat, axis=0, kind="stable")
    ordered, places = np.take_along_axis(flat, order, axis=0), np.cumsum(weight[order], axis=0)
    # Row j of the repeated ones, counted from 0, is the first whose running total is above j.
    where = np.atleast_1d(at) * max(weight.sum() - 1, 0.0)
    out = np.empty((len(where), flat.shape[1]))
    for i, position in enumerate(where):
        below = np.floor(position + 1e-9)
        low, high = (
            np.take_along_axis(ordered, np.minimum((places <= j + 1e-9).sum(axis=0), len(flat) - 1)[None], axis=0)[0]
            for j in (below, below + 1)
        )
        part = max(position - below, 0.0)
        out[i] = low if part < 1e-9 else low + part * (high - low)
    return out.reshape((*np.shape(at), *values.shape[1:]))


def weighted_median(values: np.ndarray, axis: int = 0, *, weight: np.ndarray) -> np.ndarray:
    """The quantile 0.5 of :func:`weighted_quantile`."""
    return weighted_quantile(values, 0.5, weight=weight)


def mean_and_deviation(values: np.ndarray, weight: np.ndarray | None = None) -> tuple[Any, Any]:
    """Mean and standard deviation (with the number of rows as divisor) of each column, or of one; by weight."""
    if weight is None:
        return values.mean(axis=0), values.std(axis=0)
    share = (weight / weight.sum()).reshape(-1, *[1] * (values.ndim - 1))
    mean = (values * share).sum(axis=0)
    return mean, np.sqrt(((values - mean) ** 2 * share).sum(axis=0))


LARGEST, SMALLEST = 1e100, 1e-100
"""Of a target, in size and in deviation: the squares of errors are finite, and not all 0."""


def mean_and_scale(target: np.ndarray, weight: np.ndarray | None = None) -> tuple[Any, Any]:
    """What values to predict are standardized by: mean and deviation of each column, or of one; the deviation of a
    constant one is 1.

    Raises:
        DataError: values that are too large or too close to each other for squared errors in float64.
    """
    largest = float(np.abs(target).max())
    if not largest < LARGEST:
        raise DataError(
            f"the target must hold numbers below {LARGEST:g} in size, got {largest:g}. Divide them, or take logarithms."
        )
    mean, deviation = mean_and_deviation(target, weight)
    varies = np.ptp(target, axis=0) > 0
    if (varies & (deviation < SMALLEST)).any():
        raise DataError(
            f"the target must vary by more than {SMALLEST:g}, got a standard deviation of {np.min(deviation):g}."
            " Multiply it."
        )
    return mean, np.where(varies, deviation, 1.0)


def spread(block: np.ndarray, missing: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The distance of the quartiles; half the range where they are the same; 1 where nothing varies."""
    quantile: Any = np.quantile if weight is None else weighted_quantile
    low, first, third, high = by_column(quantile, block, missing, [0.0, 0.25, 0.75, 1.0], weight=weight)
    # A distance that is only rounding would blow the rest up.
    apart = third - first > 1e-12 * np.maximum(np.abs(first), np.abs(third))
    distance = np.where(apart, third - first, (high - low) / 2)
    return np.where(distance > 0, distance, 1.0)


def frequent(column: Levels, rows: np.ndarray, weight: np.ndarray | None = None) -> tuple[str, ...]:
    """The levels of ``rows`` in order: the most frequent ones (by the weights of ``rows``), of equals the first ones,
    then ``(other)`` if any are left.
    """
    codes, first, place, counts = np.unique(
        column.codes[rows], return_index=True, return_inverse=True, return_counts=True
    )
    held = counts if weight is None else np.bincount(place, weights=weight)
    order = np.lexsort((first, -held))[:MAX_LEVELS]
    levels = sorted(column.names[code] for code in codes[order])
    return (*levels, OTHER) if len(codes) > MAX_LEVELS else tuple(levels)


def tell_constant(names: Sequence[str], rows: Rows, picked: np.ndarray) -> None:
    """Warn of columns that are left out. Numbers beyond 2^53 are not all held apart by float64: of those it is not said
    that they are the same.
    """
    large = [
        name
        for name in names
        if rows.column(name).dtype != object and bool((np.abs(rows.column(name)[picked]) >= LARGE).any())
    ]
    same = [name for name in names if name not in large]
    why_large = "their values differ too little for their size, if at all, left out"
    way = " Subtract a constant, or say categorical= (--categorical), if they are names."
    for group, why, way_out in (
        (same, "constant or empty in the training rows, left out", ""),
        (large, why_large, way),
    ):
        if group:
            shown = ", ".join(group[:8]) + (f" and {len(group) - 8} more" if len(group) > 8 else "")
            warnings.warn(f"{why}: {shown}.{way_out}", DataWarning, stacklevel=4)
