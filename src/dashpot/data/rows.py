"""Rows of a table, as a numeric matrix or as named columns."""

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
        flags: the columns that held truth values; as numbers they are 0 and 1, as names ``False`` and ``True``.
        memo: a cache of what was computed for a column, since every fold of a cross-validation needs it again.
    """

    names: tuple[str, ...]
    matrix: np.ndarray | None = None
    columns: dict[str, np.ndarray] | None = None
    flags: frozenset[str] = frozenset()
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
            found = levels_of(self.column(name))
            # They must meet the names of a training column that held more than truth values.
            truth = {"0": "False", "1": "True"} if name in self.flags else {}
            self.memo["levels", name] = Levels(tuple(truth.get(text, text) for text in found.names), found.codes)
        levels: Levels = self.memo["levels", name]
        return levels

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

    def renamed(self, names: Sequence[str]) -> Rows:
        """The same columns under other names."""
        if tuple(names) == self.names:
            return self
        now = dict(zip(self.names, names, strict=True))
        columns = None if self.columns is None else {now[name]: column for name, column in self.columns.items()}
        return Rows(tuple(names), self.matrix, columns, frozenset(now[name] for name in self.flags))

    def take(self, index: np.ndarray) -> Rows:
        """Some rows, in the order of ``index``."""
        if self.matrix is not None:
            return Rows(self.names, matrix=self.matrix[index], flags=self.flags)
        return Rows(self.names, columns={name: self.column(name)[index] for name in self.names}, flags=self.flags)

    def without(self, name: str) -> Rows:
        """All columns but one."""
        kept = tuple(n for n in self.names if n != name)
        if self.matrix is not None:
            return Rows(
                kept,
                matrix=self.matrix[:, [i for i, n in enumerate(self.names) if n != name]],
                flags=self.flags - {name},
            )
        return Rows(kept, columns={n: self.column(n) for n in kept}, flags=self.flags - {name})


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
        values = [None if np.isnan(v) else _text(v) for v in distinct]
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
                f"column {name!r} must hold numbers, as it did in training; row {i + 1} holds {value!r}. Correct the"
                " value or leave it empty."
            ) from None
    return out


def to_rows(x: Any, names: Sequence[str] | None = None) -> Rows:
    """Rows of a NumPy array, SciPy sparse matrix, or any data frame that narwhals reads (pandas, polars, ...).

    Raises:
        DataError: something else, or a sparse matrix too large to be made dense.
    """
    if hasattr(x, "tocsr") and hasattr(x, "nnz"):
        if x.shape[0] * x.shape[1] * 8 > DENSE_LIMIT:
            raise DataError(
                f"a sparse table must take at most {DENSE_LIMIT >> 30} GiB when made dense, got shape {x.shape}. Select"
                " features first."
            )
        return Rows(_names(names, x.shape[1]), matrix=np.asarray(x.todense(), dtype=np.float64))
    if isinstance(x, np.ndarray):
        if x.ndim != 2:
            raise DataError(f"a table must have 2 dimensions, got {x.ndim}.")
        labels = _names(names, x.shape[1])
        if x.dtype.kind in "fiub":
            return Rows(
                labels, matrix=x.astype(np.float64, copy=False), flags=frozenset(labels if x.dtype.kind == "b" else ())
            )
        for i in range(x.shape[1]):
            odd = _odd_type(x[:, i])
            if odd:  # a TypeError in scikit-learn's words, which its checks ask for
                raise TypeError(f"argument must be a string or a number, got {odd}")
        flags = frozenset(name for i, name in enumerate(labels) if _holds_flags(x[:, i]))
        return Rows(labels, columns={name: _object_column(x[:, i]) for i, name in enumerate(labels)}, flags=flags)
    return frame_rows(x)


def frame_rows(frame: Any) -> Rows:
    """Rows of a data frame. Dates and durations are numbers; a column that was declared to hold categories holds names,
    even of digits.

    Raises:
        DataError: no data frame, names that repeat, or a column of something else, such as lists.
    """
    import narwhals as nw

    try:
        table = nw.from_native(frame, eager_only=True)
        labels = [str(name) for name in table.columns]
    except TypeError:
        raise DataError(
            f"a table must be an array, a sparse matrix or a data frame, got {type(frame).__name__}."
        ) from None
    except ValueError as error:  # narwhals' own for names that repeat
        raise DataError(
            f"column names must be different from each other: {str(error).splitlines()[-1].strip(' -')}. Rename or"
            " remove one."
        ) from None
    twice = {name for name in labels if labels.count(name) > 1}
    if twice:
        raise DataError(
            f"column names must be different from each other, got {', '.join(sorted(twice))} more than once."
        )
    columns: dict[str, np.ndarray] = {}
    flags = set()
    for name, series in zip(labels, table.iter_columns(), strict=True):
        kind = series.dtype
        if kind == nw.Boolean:
            flags.add(name)
        if kind.is_numeric() or kind == nw.Boolean:
            numbers = series.cast(nw.Float64)
        elif kind == nw.Duration:
            numbers = series.dt.total_microseconds().cast(nw.Float64)
        elif kind in (nw.Date, nw.Datetime):
            numbers = (
                (series.cast(nw.Datetime("us")) if kind == nw.Date else series).dt.timestamp("ms").cast(nw.Float64)
            )
        else:
            cells = np.empty(len(series), dtype=object)
            cells[:] = series.to_list()
            if _holds_flags(cells):
                flags.add(name)
            if kind in (nw.Categorical, nw.Enum):
                columns[name] = _as_texts(cells)
                continue
            odd = _odd_type(cells)
            if odd:
                raise DataError(
                    f"column {name!r} must hold numbers, text, dates or truth values, got {odd}. Convert or remove it."
                )
            columns[name] = _object_column(cells)
            continue
        columns[name] = numbers.to_numpy().astype(np.float64)
    if columns and all(column.dtype != object for column in columns.values()):
        return Rows(tuple(labels), matrix=np.column_stack(list(columns.values())), flags=frozenset(flags))
    return Rows(tuple(labels), columns=columns, flags=frozenset(flags))


def is_missing(value: Any) -> bool:
    """None, NaN, pandas' NA and NaT, and empty text are missing."""
    # pandas' own answer no comparison, so they are known by name.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool((isinstance(value, str) and value == "") or (isinstance(value, float | np.floating) and value != value))


def _holds_flags(column: np.ndarray) -> bool:
    """Whether all that is there are truth values."""
    return all(isinstance(value, bool | np.bool_) or is_missing(value) for value in column)


def _object_column(column: np.ndarray) -> np.ndarray:
    """Numbers where all are numbers, else text with None."""
    if all(isinstance(value, int | float | np.number | np.bool_) or is_missing(value) for value in column):
        return np.array([np.nan if is_missing(value) else float(value) for value in column], dtype=np.float64)
    return _as_texts(column)


def _odd_type(column: np.ndarray) -> str:
    """The type of the first value that is neither text nor a number; empty if there is none."""
    for value in column:
        if not is_missing(value) and (
            not isinstance(value, str | int | float | np.generic) or isinstance(value, np.complexfloating)
        ):
            return type(value).__name__
    return ""


def _as_texts(column: np.ndarray) -> np.ndarray:
    return np.array([None if is_missing(value) else _text(value) for value in column], dtype=object)


def _text(value: Any) -> str:
    """1 and 1.0 are the same name: whether whole numbers come as the one or the other depends on what else the column
    holds.
    """
    whole = isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value)
    return str(int(value)) if whole else str(value)


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    return tuple(names) if names is not None else tuple(f"x{i}" for i in range(count))
