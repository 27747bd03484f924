"""Which columns of a table hold levels, which sentences, and which nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from dashpot.data.rows import Rows
from dashpot.data.tables.columns import frequent
from dashpot.data.texts.column import reads_as_text


def columns_of_text(
    rows: Rows, numeric: Sequence[str], picked: np.ndarray, counts: np.ndarray | None = None
) -> tuple[dict[str, tuple[str, ...]], list[str], list[str]]:
    """The columns that hold no numbers: the nominal ones with their levels, those of text, and those of one level."""
    nominal: dict[str, tuple[str, ...]] = {}
    text: list[str] = []
    constant: list[str] = []
    for name in rows.names if len(numeric) < len(rows.names) else ():
        if rows.column(name).dtype != object:
            continue
        column = rows.levels(name)
        if reads_as_text(column, picked):
            text.append(name)
        elif len(levels := frequent(column, picked, counts)) < 2:
            constant.append(name)
        else:
            nominal[name] = levels
    return nominal, text, constant


def all_texts(rows: Rows, names: Collection[str] = ()) -> bool:
    """Whether every column holds sentences, by all rows.

    Args:
        names: columns that hold names of categories, as the caller says.
    """
    every = np.arange(len(rows))
    return all(name not in names and name not in rows.declared and _reads(rows, name, every) for name in rows.names)


def _reads(rows: Rows, name: str, picked: np.ndarray) -> bool:
    return rows.column(name).dtype == object and reads_as_text(rows.levels(name), picked)
