"""Checks of predictions and targets before they are scored."""

from __future__ import annotations

from typing import Any

import numpy as np

from dashpot.core.errors import DataError


def checked_probabilities(probabilities: Any) -> np.ndarray:
    """Probabilities [n, classes] as an array of floats, or a :class:`DataError` that says what is wrong with them."""
    p = np.asarray(probabilities)
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise DataError(
            f"probabilities must be [rows, classes], with at least 1 row and 2 classes, got {list(p.shape)}."
        )
    p = p if np.issubdtype(p.dtype, np.floating) else p.astype(np.float64)
    if not np.isfinite(p).all():
        raise DataError(
            f"probabilities must be finite, got {p[~np.isfinite(p)][0]} in row"
            f" {np.flatnonzero(~np.isfinite(p).all(axis=1))[0]}."
        )
    total = p.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero((p < 0).any(axis=1) | (abs(total - 1) > 1e-3))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"probabilities must be >= 0 and sum to 1 in each row, got {p[row].tolist()} in row {row}. For logits, take"
            " Decision.probabilities first."
        )
    return p


def checked_codes(codes: Any, rows: int | None = None, classes: int = 0, name: str = "codes") -> np.ndarray:
    """Class codes [rows] as int64, each below ``classes`` if that is given, or a :class:`DataError`."""
    y = np.asarray(codes)
    if y.ndim != 1 or len(y) == 0:
        raise DataError(f"{name} must be one per row, with at least one row, got shape {list(y.shape)}.")
    if rows is not None and len(y) != rows:
        raise DataError(f"{name} must be one per row of the predictions, which have {rows} rows, got {len(y)}.")
    if not np.issubdtype(y.dtype, np.integer) and y.dtype != np.bool_:
        raise DataError(
            f"{name} must be whole numbers from 0, got {y[0]!r} of type {y.dtype}. Number the classes first."
        )
    wrong = np.flatnonzero((y < 0) | (y >= (classes or np.inf)))
    if len(wrong):
        raise DataError(
            f"{name} must be whole numbers in [0, {f'{classes - 1}]' if classes else 'inf)'}, got {y[wrong[0]]} in row"
            f" {wrong[0]}."
        )
    return y.astype(np.int64)


def checked_values(predicted: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true values as float64 of one shape, or a :class:`DataError`; broadcasting would compare each with
    each.
    """
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != y.shape or p.size == 0:
        raise DataError(
            f"predictions and targets must have one shape, with at least one row, got {list(p.shape)} and"
            f" {list(y.shape)}."
        )
    for name, values in (("predictions", p), ("targets", y)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} must be finite, got {values[~np.isfinite(values)][0]}.")
    return p, y
