"""Texts from columns of a table, from lists, arrays, series and data frames: objects [n, columns], None for missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from dashpot.core.errors import DataError, listed
from dashpot.data.rows import frame_rows
from dashpot.data.tables.columnar import Rows, is_missing
from dashpot.data.texts.fields import Fields

FORMS = "texts: a list or array of strings [n] or [n, columns], a series, or a data frame"


def is_frame(x: Any) -> bool:
    """Whether X has named columns."""
    return hasattr(x, "columns") or hasattr(x, "__dataframe__") or hasattr(x, "get_column")


def is_texts(x: Any) -> bool:
    """Whether X is a list, an array [n] or a series of texts, some of which may be missing."""
    if is_frame(x) and not hasattr(x, "to_list"):
        return False
    if isinstance(x, np.ndarray) and x.ndim != 1:
        return False
    values = x.to_list() if hasattr(x, "to_list") else x.tolist() if isinstance(x, np.ndarray) else x
    if not isinstance(values, list | tuple):
        return False
    return any(isinstance(v, str) for v in values) and all(isinstance(v, str) or is_missing(v) for v in values)


def texts_in(rows: Rows) -> np.ndarray:
    """All columns of a table side by side: texts, None for missing ones, and floats in columns of numbers."""
    out = np.empty((len(rows), len(rows.names)), dtype=object)
    for i, name in enumerate(rows.names):
        out[:, i] = rows.column(name)
    return out


def how_of(rows: Rows, names: Collection[str] = ()) -> dict[str, Any]:
    """What :meth:`dashpot.data.texts.preprocessing.TextPreprocessing.fit` takes beside the texts of a table.

    Args:
        names: columns that hold names, as the caller says.
    """
    return {"columns": rows.names, "names": tuple({*names, *rows.declared}), "formats": rows.formats}


def columns_for(source: str, rows: Rows, columns: Sequence[str], fields: Fields) -> np.ndarray:
    """The columns that training had, by name and in its order; others are passed over.

    Args:
        fields: which of them hold no texts; numbers are read as those of training were.

    Raises:
        DataError: some are missing, or a text in a column of numbers.
    """
    absent = [name for name in columns if name not in rows.names]
    if absent:
        shown = ", ".join(map(repr, absent[:8])) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        raise DataError(
            f"{source} must have every column that training used; missing: {shown}. It has: {listed(rows.names)}."
        )
    out = np.empty((len(rows), len(columns)), dtype=object)
    for i, name in enumerate(columns):
        column = rows.column(name)
        if name in fields.limits:
            column = rows.numeric([name], fields.formats)[:, 0]
        # A column in which every new text is missing came as numbers.
        out[:, i] = None if column.dtype != object and np.isnan(column).all() else column
    return out


def as_texts(name: str, x: Any, columns: Sequence[str] | None = None, fields: Fields | None = None) -> np.ndarray:
    """What a caller gives as texts, as objects [n, columns].

    Args:
        name: of ``x`` in errors.
        columns, fields: of training; those of a data frame are found by these names.

    Raises:
        DataError: something else, or bytes that are no UTF-8.

    >>> as_texts("X", ["How are you?", None]).tolist()
    [['How are you?'], [None]]
    """
    if hasattr(x, "columns"):
        rows = frame_rows(x)
        return texts_in(rows) if columns is None else columns_for(name, rows, columns, fields or Fields())
    if hasattr(x, "to_list"):
        x = x.to_list()
    if isinstance(x, np.ndarray):
        x = x.tolist()
    if not isinstance(x, list | tuple):
        raise DataError(f"{name} must be {FORMS}, got {type(x).__name__}. One text is [text].")
    rows_of = [tuple(row) if isinstance(row, list | tuple) else (row,) for row in x]
    widths = {len(row) for row in rows_of}
    if len(widths) > 1:
        raise DataError(f"{name} must have as many texts in each row, got {min(widths)} and {max(widths)}.")
    out = np.empty((len(rows_of), widths.pop() if widths else len(columns or ("text",))), dtype=object)
    for i, row in enumerate(rows_of):
        out[i] = [_text(name, i, value) for value in row]
    return out


def _text(name: str, row: int, value: Any) -> Any:
    if is_missing(value):
        return None
    try:
        if isinstance(value, str):
            value.encode()  # halves of characters cannot be saved
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeError as error:
        raise DataError(f"{name} must hold text in UTF-8, got {error} in row {row}. Decode it first.") from None
