"""Rows of a table, whatever they came in: a numeric matrix, or named columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dashpot.core.errors import DataError

DENSE_LIMIT = 2 << 30
"""Sparse input is made dense; above this many bytes it is refused."""
MISSING = "(missing)"


@dataclass(frozen=True)
class Levels:
    """A column as codes: row ``i`` holds the text ``names[codes[i]]``; a missing value is the name ``(missing)``."""

    names: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class Rows:
    """A table in memory.

    Attributes:
        names: of the columns.
        matrix: all columns as float64 [rows, columns] with NaN for missing, where every column is numeric.
        columns: else each column by name: float64 with NaN, or object with text and None.
        memo: what was worked out of a column, by what and name, since every fold of a cross-validation asks again.
    """

    names: tuple[str, ...]
    matrix: np.ndarray | None = None
    columns: dict[str, np.ndarray] | None = None
    memo: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        if self.matrix is not None:
            return len(self.matrix)
        return len(next(iter((self.columns or {}).values()), ()))

    def column(self, name: str) -> np.ndarray:
        if self.matrix is not None:
            result: np.ndarray = self.matrix[:, self.names.index(name)]
            return result
        assert self.columns is not None
        return self.columns[name]

    def levels(self, name: str) -> Levels:
        """A column as codes."""
        if ("levels", name) not in self.memo:
            self.memo["levels", name] = levels_of(self.column(name))
        found: Levels = self.memo["levels", name]
        return found

    def numeric(self, names: Sequence[str]) -> np.ndarray:
        """The named columns as float64 [rows, names].

        Raises:
            DataError: one of them holds text.
        """
        if self.matrix is not None:
            if tuple(names) == self.names:
                return self.matrix
            place = {name: i for i, name in enumerate(self.names)}
            return self.matrix[:, [place[name] for name in names]]
        out = np.empty((len(self), len(names)))
        for i, name in enumerate(names):
            out[:, i] = as_numbers(name, self.column(name))
        return out

    def without(self, name: str) -> Rows:
        """All columns but one."""
        kept = tuple(n for n in self.names if n != name)
        if self.matrix is not None:
            return Rows(kept, matrix=self.matrix[:, [i for i, n in enumerate(self.names) if n != name]])
        return Rows(kept, columns={n: self.column(n) for n in kept})


def levels_of(column: np.ndarray) -> Levels:
    """The distinct values of a column as text, and which one each row holds.

    Example:
        >>> levels_of(np.array(["b", None, "a", "b"], dtype=object))
        Levels(names=('b', '(missing)', 'a'), codes=array([0, 1, 2, 0]))
    """
    values: list[Any]
    if column.dtype == object:
        # Dictionaries hash each cell once and in C; sorting 50,000 texts takes ten times as long.
        values = list(dict.fromkeys(column.tolist()))
        place = {value: i for i, value in enumerate(values)}
        codes = np.fromiter(map(place.__getitem__, column.tolist()), dtype=np.int64, count=len(column))
    else:
        distinct, codes = np.unique(column, return_inverse=True)
        # "1" in the file must meet "1" among the levels, where all new values of a nominal column look like numbers.
        values = [None if np.isnan(v) else str(int(v)) if np.isfinite(v) and v == int(v) else str(v) for v in distinct]
    texts = [MISSING if value is None else str(value) for value in values]
    names = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return Levels(tuple(names), np.array([names[text] for text in texts], dtype=np.int64)[codes])


def as_numbers(name: str, column: np.ndarray) -> np.ndarray:
    """float64 with NaN for missing; text that reads as a number counts as one."""
    if column.dtype != object:
        return column
    out = np.full(len(column), np.nan)
    for i, value in enumerate(column):
        if value is None:
            continue
        try:
            out[i] = float(value)
        except ValueError:
            raise DataError(
                f"column {name!r} must hold numbers, as it did in training; row {i + 1} holds {value!r}. Correct the value or leave it empty."
            ) from None
    return out


def to_rows(x: Any, names: Sequence[str] | None = None) -> Rows:
    """Rows of a NumPy array, SciPy sparse matrix, or any data frame that narwhals reads (pandas, polars, ...).

    Raises:
        DataError: something else, or a sparse matrix too large to be made dense.
    """
    if hasattr(x, "tocsr") and hasattr(x, "nnz"):
        if x.shape[0] * x.shape[1] * 8 > DENSE_LIMIT:
            raise DataError(f"a sparse table must take at most {DENSE_LIMIT >> 30} GiB when made dense, got shape {x.shape}. Select features first.")
        return Rows(_names(names, x.shape[1]), matrix=np.asarray(x.todense(), dtype=np.float64))
    if isinstance(x, np.ndarray):
        if x.ndim != 2:
            raise DataError(f"a table must have 2 dimensions, got {x.ndim}.")
        labels = _names(names, x.shape[1])
        if x.dtype.kind in "fiub":
            return Rows(labels, matrix=x.astype(np.float64, copy=False))
        return Rows(labels, columns={name: _object_column(x[:, i]) for i, name in enumerate(labels)})
    return frame_rows(x)


def frame_rows(frame: Any) -> Rows:
    """Rows of a data frame."""
    import narwhals as nw

    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        raise DataError(f"a table must be an array, a sparse matrix or a data frame, got {type(frame).__name__}.") from None
    labels = [str(name) for name in table.columns]
    twice = {name for name in labels if labels.count(name) > 1}
    if twice:
        raise DataError(f"column names must be different from each other, got {', '.join(sorted(twice))} more than once.")
    columns: dict[str, np.ndarray] = {}
    for name, series in zip(labels, table.iter_columns(), strict=True):
        kind = series.dtype
        if kind.is_numeric() or kind == nw.Boolean:
            columns[name] = series.cast(nw.Float64).to_numpy().astype(np.float64)
        elif kind.is_temporal():
            columns[name] = series.cast(nw.Datetime("us")).dt.timestamp("ms").cast(nw.Float64).to_numpy().astype(np.float64)
        else:
            columns[name] = _object_column(np.array(series.to_list(), dtype=object))
    if columns and all(column.dtype != object for column in columns.values()):
        return Rows(tuple(labels), matrix=np.column_stack(list(columns.values())))
    return Rows(tuple(labels), columns=columns)


def is_missing(value: Any) -> bool:
    """None, NaN and empty text are missing."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _object_column(column: np.ndarray) -> np.ndarray:
    """Numbers where all are numbers, else text with None."""
    present = [value for value in column if not is_missing(value)]
    if all(isinstance(value, int | float | np.number | np.bool_) for value in present):
        return np.array([np.nan if is_missing(value) else float(value) for value in column], dtype=np.float64)
    if any(not isinstance(value, str | int | float | bool | np.generic) for value in present):
        bad = next(value for value in present if not isinstance(value, str | int | float | bool | np.generic))
        raise TypeError(f"argument must be a string or a number, got {type(bad).__name__}")
    return np.array([None if is_missing(value) else str(value) for value in column], dtype=object)


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    return tuple(names) if names is not None else tuple(f"x{i}" for i in range(count))
