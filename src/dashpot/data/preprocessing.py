"""From raw rows to what a network takes: every statistic from the training rows only, all of it plain JSON."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.rows import Rows

MAX_LEVELS = 100
MISSING, OTHER = "(missing)", "(other)"


class DataWarning(UserWarning):
    """The data can be used, but something in them was left out."""


@dataclass(frozen=True)
class Preprocessing:
    """How rows of a table become features, and how targets are read.

    Numeric columns: missing values become the training median, with an indicator column beside them where the training rows have any; then standardized.
    Nominal columns: one column per level seen in training (the 100 most frequent ones, the rest is one level ``(other)``), with an own level for missing
    where the training rows have any; an unseen level is all zeros.

    Attributes:
        numeric: their names, in order.
        median, mean, scale: one for each.
        indicated: the numeric columns with an indicator of missing values.
        nominal: name -> levels.
        dropped: columns without information in the training rows.
        task, classes: of the target.
        target_mean, target_scale: values are standardized with these for training.
    """

    numeric: tuple[str, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    indicated: tuple[str, ...]
    nominal: Mapping[str, tuple[str, ...]]
    dropped: tuple[str, ...]
    kind: str = "table"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in the order of the output's columns."""
        levels = [f"{name}={level}" for name, values in self.nominal.items() for level in values]
        return (*self.numeric, *(f"{name} is missing" for name in self.indicated), *levels)

    @staticmethod
    def fit(rows: Rows, train: np.ndarray | None = None, *, strict: bool = True) -> Preprocessing:
        """Learn from the rows ``train`` (all by default).

        Args:
            strict: refuse a table without any information, and warn of columns without; estimators, whose callers expect neither, pass False.

        Raises:
            DataError: infinity in a numeric column, or no column with information.
        """
        picked = np.arange(len(rows)) if train is None else train
        numeric = [name for name in rows.names if rows.matrix is not None or rows.column(name).dtype != object]
        block = rows.numeric(numeric)
        demand_finite(numeric, block)
        block = block[picked]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # all-missing columns give NaN, which is what tells them
            median = np.nanmedian(block, axis=0) if len(numeric) else np.empty(0)
        missing = np.isnan(block)
        filled = np.where(missing, median, block)
        mean, scale = filled.mean(axis=0), filled.std(axis=0)
        # What rounding leaves of a constant column is no information.
        flat = np.isnan(median) | (scale <= 1e-12 * np.maximum(1.0, np.abs(mean)))
        some_missing = missing.any(axis=0) & ~missing.all(axis=0)
        nominal: dict[str, tuple[str, ...]] = {}
        constant: list[str] = [name for name, bad, gaps in zip(numeric, flat, some_missing, strict=True) if bad and not gaps]
        for name in rows.names:
            if name in set(numeric):
                continue
            counts = Counter(MISSING if value is None else str(value) for value in rows.column(name)[picked])
            levels = tuple(sorted(level for level, _ in counts.most_common(MAX_LEVELS)))
            if len(levels) < 2:
                constant.append(name)
            else:
                nominal[name] = (*levels, OTHER) if len(counts) > MAX_LEVELS else levels
        keep = [i for i in range(len(numeric)) if not flat[i]]
        indicated = [name for name, gaps in zip(numeric, some_missing, strict=True) if gaps]
        if not keep and not nominal and not indicated:
            if strict:
                raise DataError(f"the table must have a column that varies; all {len(rows.names)} are constant or empty in the training rows.")
            keep, scale, median, mean = list(range(len(numeric))), np.ones(len(numeric)), np.nan_to_num(median), np.nan_to_num(mean)
            constant = []
        if constant and strict:
            shown = ", ".join(constant[:8]) + (f" and {len(constant) - 8} more" if len(constant) > 8 else "")
            warnings.warn(f"constant or empty in the training rows, left out: {shown}.", DataWarning, stacklevel=3)
        return Preprocessing(
            numeric=tuple(numeric[i] for i in keep),
            median=tuple(map(float, median[keep])),
            mean=tuple(map(float, mean[keep])),
            scale=tuple(map(float, scale[keep])),
            indicated=tuple(indicated),
            nominal=nominal,
            dropped=tuple(constant),
        )

    def transform(self, rows: Rows, *, strict: bool = True) -> np.ndarray:
        """Features as float32 [rows, features].

        Raises:
            DataError: columns that training had are missing, text in a numeric column, or infinity.

        Warns:
            DataWarning: columns that training did not have are ignored.
        """
        needed = {*self.numeric, *self.indicated, *self.nominal}
        absent = [name for name in (*self.numeric, *self.nominal) if name not in rows.names]
        if absent:
            shown = ", ".join(map(repr, absent[:8])) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
            raise DataError(f"the data must have every column that training used; missing: {shown}. They have: {', '.join(rows.names[:12])}.")
        extra = [name for name in rows.names if name not in needed and name not in self.dropped]
        if extra and strict:
            warnings.warn(f"columns that training did not have are ignored: {', '.join(extra[:8])}.", DataWarning, stacklevel=3)
        block = rows.numeric(self.numeric)
        demand_finite(self.numeric, block)
        parts = [(np.where(np.isnan(block), np.array(self.median), block) - np.array(self.mean)) / np.array(self.scale)]
        if self.indicated:
            parts.append(np.isnan(rows.numeric(self.indicated)))
        for name, levels in self.nominal.items():
            parts.append(_one_hot(rows.column(name), levels))
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_dict`."""
        fixed: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        fixed["nominal"] = {name: tuple(levels) for name, levels in data["nominal"].items()}
        return Preprocessing(**fixed)


def demand_finite(names: list[str] | tuple[str, ...], block: np.ndarray) -> None:
    """Refuse infinity; missing values (NaN) are fine."""
    infinite = np.isinf(block)
    if infinite.any():
        column = int(infinite.any(axis=0).argmax())
        count = int(infinite[:, column].sum())
        raise DataError(f"column {names[column]!r} must hold finite numbers, got infinity in {count} rows. Correct them or leave them empty.")


def _one_hot(column: np.ndarray, levels: tuple[str, ...]) -> np.ndarray:
    position = {level: i for i, level in enumerate(levels)}
    unseen = position.get(OTHER, -1)
    if column.dtype != object:
        # A nominal column whose new values all look like numbers: "1" in the file must still meet "1" in the levels.
        column = np.array([None if np.isnan(v) else str(int(v)) if v == int(v) else str(v) for v in column], dtype=object)
    codes = np.fromiter((position.get(MISSING if value is None else str(value), unseen) for value in column), dtype=np.int64, count=len(column))
    out = np.zeros((len(column), len(levels)), dtype=np.float32)
    seen = codes >= 0
    out[np.nonzero(seen)[0], codes[seen]] = 1
    return out
