"""Rows of arrays, sparse matrices, lists and data frames."""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.core.errors import DataError, DataTypeError
from dashpot.data.tables.columnar import MISSING, Levels, Rows, is_missing, levels_of, plain_text, texts_of
from dashpot.data.tables.formats import MISSING_WORDS, Format
from dashpot.data.tables.reading import Reading, decide

if TYPE_CHECKING:
    import polars

__all__ = ["MISSING", "Levels", "Rows", "decided", "decided_frame", "frame_rows", "is_missing", "levels_of", "to_rows"]

DENSE_LIMIT = 2 << 30
"""Sparse input is made dense; above this many bytes it is refused."""
_NUMBERS = (int, float, np.number, np.bool_, numbers.Rational, decimal.Decimal)
_KNOWN = (*_NUMBERS, str, np.generic, datetime.date, datetime.time, datetime.timedelta)


def to_rows(x: Any, names: Sequence[str] | None = None) -> Rows:
    """Rows of a NumPy array, SciPy sparse matrix, or any data frame that narwhals reads (pandas, polars, ...). Texts
    stay as they are: :func:`decided` says what they hold.

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
        return _array_rows(x, names)
    return frame_rows(x)


def _array_rows(x: np.ndarray, names: Sequence[str] | None) -> Rows:
    if x.ndim != 2:
        raise DataError(f"a table must have 2 dimensions, got {x.ndim}.")
    labels = _names(names, x.shape[1])
    kind = x.dtype.kind
    if kind in "fiub":
        return Rows(labels, matrix=x.astype(np.float64, copy=False), flags=frozenset(labels if kind == "b" else ()))
    if kind in "Mm":
        return Rows(labels, matrix=_moments(x))
    if kind == "S":
        try:
            x = np.char.decode(x, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"X must hold text in UTF-8, got: {error}. Decode it first.") from None
    for i in range(x.shape[1]):
        odd = _odd_type(x[:, i])
        if odd:  # in scikit-learn's words, which its checks ask for
            raise DataTypeError(
                f"column {labels[i]!r}: argument must be a string or a number, a date or a truth value, got {odd}."
                " Convert or remove it."
            )
    flags = frozenset(name for i, name in enumerate(labels) if _holds_flags(x[:, i]))
    columns = {name: _object_column(x[:, i]) for i, name in enumerate(labels)}
    return Rows(labels, columns=columns, flags=flags, undecided=True)


def frame_rows(frame: Any) -> Rows:
    """Rows of a data frame. Dates and durations are numbers; a column that was declared to hold categories holds names,
    even of digits.

    Raises:
        DataError: no data frame, names that repeat, or a column of something else, such as lists.
    """
    given, flags, declared, dates = _frame_columns(frame)
    columns = {
        name: value if isinstance(value, np.ndarray) else _as_texts(value.to_list(), keep=name in declared)
        for name, value in given.items()
    }
    return replace(_made(columns, flags, declared), formats=dates, undecided=True)


def decided(rows: Rows, reading: Reading | None = None) -> Rows:
    """The same table once it is decided what its columns hold, by :func:`dashpot.data.tables.reading.decide`.

    Raises:
        ConfigError: ``reading`` names a column that is not there.

    Warns:
        DataWarning: a column of which it is not certain.
    """
    reading = reading or Reading()
    if not rows.undecided and reading == Reading():
        return rows
    given = {
        name: texts_of(rows.column(name)) if rows.column(name).dtype == object else rows.column(name)
        for name in rows.names
    }
    return _decide(given, rows.flags, rows.declared, rows.formats, reading, None)


def decided_frame(frame: Any, reading: Reading, comma: bool | None = None) -> Rows:
    """``decided(frame_rows(frame), reading)`` without the way over Python's objects.

    Args:
        comma: whether the file's form speaks for decimal commas.
    """
    return _decide(*_frame_columns(frame), reading, comma)


def _decide(
    given: dict[str, Any],
    flags: frozenset[str],
    declared: frozenset[str],
    dates: Mapping[str, Format],
    reading: Reading,
    comma: bool | None,
) -> Rows:
    found = decide(given, reading, flags=flags, declared=declared, comma=comma)
    # Later files may bring as text what has a type here.
    typed = {**dict.fromkeys(found.flags, Format("truth")), **dates}
    typed = {name: form for name, form in typed.items() if found.values[name].dtype != object}
    made = replace(_made(found.values, found.flags, declared), formats={**typed, **found.formats})
    made.memo.update({("levels", name): levels for name, levels in found.levels.items()})
    return made


def _made(columns: dict[str, np.ndarray], flags: frozenset[str], declared: frozenset[str]) -> Rows:
    if columns and all(column.dtype != object for column in columns.values()):
        return Rows(tuple(columns), matrix=np.column_stack(list(columns.values())), flags=flags, declared=declared)
    return Rows(tuple(columns), columns=columns, flags=flags, declared=declared)


def _frame_columns(
    frame: Any,
) -> tuple[dict[str, np.ndarray | polars.Series], frozenset[str], frozenset[str], dict[str, Format]]:
    """Columns as float64 or as texts, those of truth values, those that were declared to hold categories, and how dates
    would be read if they came as text.
    """
    import narwhals as nw
    import polars

    table, labels = _table(frame)
    columns: dict[str, np.ndarray | polars.Series] = {}
    flags, declared, dates = set(), set(), {}
    for name, series in zip(labels, table.iter_columns(), strict=True):
        kind = series.dtype
        if kind == nw.Boolean:
            flags.add(name)
        if kind.is_numeric() or kind == nw.Boolean:
            columns[name] = series.cast(nw.Float64).to_numpy().astype(np.float64, copy=False)
        elif kind == nw.Duration:
            columns[name] = series.dt.total_microseconds().cast(nw.Float64).to_numpy().astype(np.float64)
        elif kind in (nw.Date, nw.Datetime):
            dates[name] = Format("date")
            moments = series.cast(nw.Datetime("us")) if kind == nw.Date else series
            columns[name] = moments.dt.timestamp("us").cast(nw.Float64).to_numpy().astype(np.float64) / 1000
        elif kind == nw.String and isinstance(series.to_native(), polars.Series):
            columns[name] = series.to_native()
        else:
            cells = np.empty(len(series), dtype=object)
            cells[:] = series.to_list()
            if kind in (nw.Categorical, nw.Enum):
                declared.add(name)
                columns[name] = texts_of(_as_texts(cells, keep=True))
                continue
            odd = _odd_type(cells)
            if odd:
                raise DataError(
                    f"column {name!r} must hold numbers, text, dates or truth values, got {odd}. Convert or remove it."
                )
            if _holds_flags(cells):
                flags.add(name)
            column = _object_column(cells)
            columns[name] = column if column.dtype != object else texts_of(column)
    return columns, frozenset(flags), frozenset(declared), dates


def _table(frame: Any) -> tuple[Any, list[str]]:
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
    return table, labels


def _moments(x: np.ndarray) -> np.ndarray:
    """Dates as milliseconds since 1970, durations as microseconds, as those of data frames."""
    whole = x.astype("M8[us]" if x.dtype.kind == "M" else "m8[us]").astype(np.int64).astype(np.float64)
    return np.where(np.isnat(x), np.nan, whole / (1000 if x.dtype.kind == "M" else 1))


def _holds_flags(column: np.ndarray) -> bool:
    """Whether all that is there are truth values."""
    return all(isinstance(value, bool | np.bool_) or is_missing(value) for value in column)


def _object_column(column: np.ndarray) -> np.ndarray:
    """Numbers where all are numbers, durations as microseconds, else text with None."""
    if all(isinstance(value, _NUMBERS) or is_missing(value) for value in column):
        return np.array([np.nan if is_missing(value) else float(value) for value in column], dtype=np.float64)
    if all(isinstance(value, datetime.timedelta) or is_missing(value) for value in column):
        micro = datetime.timedelta(microseconds=1)
        return np.array([np.nan if is_missing(value) else value / micro for value in column], dtype=np.float64)
    return _as_texts(column)


def _odd_type(column: np.ndarray) -> str:
    """The type of the first value that is no text, number, date or time; empty if there is none."""
    for value in column:
        if not is_missing(value) and (not isinstance(value, _KNOWN) or isinstance(value, np.complexfloating)):
            return type(value).__name__
    return ""


def _as_texts(column: Any, keep: bool = False) -> np.ndarray:
    """Texts with None for missing; of declared categories (``keep``) the words for missing are names too."""
    words = () if keep else MISSING_WORDS
    texts = [None if is_missing(value) else _written(value) for value in column]
    return np.array([None if t is None or t.strip() in words else t for t in texts] + [None], dtype=object)[:-1]


def _written(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return plain_text(value)


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    return tuple(names) if names is not None else tuple(f"x{i}" for i in range(count))
