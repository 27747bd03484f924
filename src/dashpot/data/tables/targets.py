"""Targets of tables: class labels to the letter, and values read by the rule for columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.rows import frame_rows
from dashpot.data.tables.columnar import DataWarning
from dashpot.data.tables.decide import judge
from dashpot.data.tables.formats import KINDS, MISSING_WORDS, Format
from dashpot.data.tables.reading import Reading, choice, missing_of, way_out
from dashpot.data.tables.written_numbers import PLAIN

if TYPE_CHECKING:
    import polars

CLASSES, VALUES = "classification", "regression"


def target_of(
    column: polars.Series, task: str | None, reading: Reading | None = None, comma: bool | None = None
) -> np.ndarray:
    """A target as a file has it: for classes the labels to the letter, for a regression numbers.

    A label is what the file writes: ``007`` and ``7`` are two classes, as are ``1`` and ``1.0``. Labels that have a
    type are written as polars writes them to a CSV file: truth values as true and false, dates as 2024-01-31. A
    regression's target is read by :func:`dashpot.data.tables.reading.decide`'s rule. Where the task is to be guessed,
    numbers are given if all are numbers (:func:`dashpot.data.problem.guess_task` then counts them); nothing is warned
    of.

    Raises:
        DataError: a regression, and a text that is no number; it is named with its row.

    Example:
        >>> import polars
        >>> target_of(polars.Series(["007", "7", None]), "classification").tolist()
        ['007', '7', None]
        >>> target_of(polars.Series(["$1,500.50", "$7"]), "regression").tolist()
        [1500.5, 7.0]
    """
    import polars

    if column.dtype.is_float():
        column = column.fill_nan(None)
    if task == CLASSES:
        return labels_of(column)
    if column.dtype != polars.String:
        if column.dtype == polars.Boolean and task is None:
            return labels_of(column)
        rows = frame_rows(column.to_frame())
        found = rows.column(column.name)
        return (
            found if found.dtype != object or task is None else numbers_of(column.cast(polars.String), reading, comma)
        )
    if task == VALUES:
        return numbers_of(column, reading, comma)
    read = format_of(column, reading, comma, tell=False)
    return labels_of(column) if read is None or read.kind == "truth" else read.read(column)[0]


def labels_of(column: polars.Series) -> np.ndarray:
    """Labels as objects, None for missing."""
    import polars

    if column.dtype.is_temporal():
        column = column.dt.to_string("iso:strict") if column.dtype != polars.Date else column.dt.to_string("%Y-%m-%d")
    texts = column.cast(polars.String).to_list()
    return np.array([*texts, None], dtype=object)[:-1]


def format_of(
    column: polars.Series, reading: Reading | None, comma: bool | None = None, tell: bool = True
) -> Format | None:
    """How all texts of a target read as numbers; None where they do not.

    Args:
        tell: warn; not where it may turn out that they are labels.

    Warns:
        DataWarning: it is not certain.
    """
    texts = column.drop_nulls()
    texts = texts.filter(~texts.str.strip_chars().is_in(MISSING_WORDS)).unique(maintain_order=True)
    found = judge(texts, np.ones(len(texts), dtype=np.int64))
    if found.format is None or found.format.missing:
        return None
    form, doubt = choice(found, found.format, reading or Reading(), set(), comma)
    if doubt and tell:
        way = (
            way_out("", found.options) if found.other else " Correct the column, or say task='classification' (--task)."
        )
        warnings.warn(f"the target {doubt}.{way}", DataWarning, stacklevel=4)
    return form


def numbers_of(column: polars.Series, reading: Reading | None = None, comma: bool | None = None) -> np.ndarray:
    """The values of a regression's target.

    Raises:
        DataError: a text that is no number.
    """
    form = format_of(column, reading, comma)
    if form is not None:
        return form.read(column)[0]
    # The reading with the fewest bad values tells which ones are bad.
    forms = [Format(decimal=mark, any_unit=True) for mark in ".,"] + [Format("date"), Format("date", order="mdy")]
    bad = min((form.read(column)[1] for form in forms), key=lambda one: int(one.sum()))
    if not bad.any():
        form = next(form for form in forms if not form.read(column)[1].any())
        raise DataError(
            f"the target of a regression must be {KINDS[form.kind]} of one unit, got text such as {column[0]!r}."
            " Write all in one unit."
        )
    row = int(bad.argmax())
    count = int(bad.sum())
    more = f" ({count} of {len(bad)} are none)" if count > 1 else ""
    raise DataError(
        f"the target of a regression must be numbers, got text such as {column[row]!r} in row {row + 1}{more}. Ask for"
        " classification, or correct the column."
    )


def demand_present(column: polars.Series, written: polars.Series | None, present: np.ndarray) -> None:
    """Refuse a target that is missing somewhere.

    Args:
        written: the column with words for missing values as they are written, if that is known.
        present: which rows count.

    Raises:
        DataError: how many are missing, where the first is, and what stands there.
    """
    import polars

    absent = (missing_of(column) if column.dtype == polars.String else column.is_null().to_numpy()) & present
    if not absent.any():
        return
    row = int(absent.argmax())
    word = (written[row] if written is not None and len(written) == len(column) else None) or ""
    what, way = "", "Remove those rows."
    if word:
        what = f", where {word!r} counts as missing"
        way = f"Remove those rows; if {word!r} is a class, write it another way."
    raise DataError(
        f"the target must be there in every row; it is missing in {int(absent.sum())} of {int(present.sum())}, first in"
        f" row {row + 1}{what}. {way}"
    )


def encoded(labels: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels (objects) as names in order, and the code of each row.

    Example:
        >>> encoded(np.array(["10", "2", "10"], dtype=object))
        (('2', '10'), array([1, 0, 1]))
    """
    texts = [label if type(label) is str else str(label) for label in labels.tolist()]
    names = sorted(set(texts))
    order = label_order(names)
    names = names if order is None else [names[i] for i in order]
    place = {name: i for i, name in enumerate(names)}
    return tuple(names), np.fromiter(map(place.__getitem__, texts), dtype=np.int64, count=len(texts))


def label_order(names: Sequence[str]) -> list[int] | None:
    """The order of labels of which all are numbers: by value, then by letters; None where they are not.

    Example:
        >>> label_order(["10", "2", "02"]), label_order(["b", "2"])
        ([2, 1, 0], None)
    """
    if not all(re.match(PLAIN, name) for name in names):
        return None
    return sorted(range(len(names)), key=lambda i: (Decimal(names[i]), names[i]))
