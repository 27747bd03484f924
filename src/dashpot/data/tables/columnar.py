"""Rows of a table, as a numeric matrix or as named columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dashpot.data.tables.formats import PLAIN, Format

MISSING = "(missing)"


class DataWarning(UserWarning):
    """The data can be used, but something in them was left out, or is not certain."""


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
        formats: how texts became numbers, by column.
        declared: the columns that were declared to hold categories.
        undecided: whether texts are still as they were given, and may be numbers or dates
            (:func:`dashpot.data.rows.decided`).
        memo: a cache of what was computed for a column, since every fold of a cross-validation needs it again.
    """

    names: tuple[str, ...]
    matrix: np.ndarray | None = None
    columns: dict[str, np.ndarray] | None = None
    flags: frozenset[str] = frozenset()
    formats: Mapping[str, Format] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    undecided: bool = False
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

    def numeric(self, names: Sequence[str], formats: Mapping[str, Format] | None = None) -> np.ndarray:
        """The named columns as float64 [rows, names]; texts are read by ``formats``, as plain numbers by default.

        Raises:
            DataError: a text that is no number.
        """
        formats = formats or {}
        if self.matrix is not None and not formats:
            if tuple(names) == self.names:
                return self.matrix
            place = {name: i for i, name in enumerate(self.names)}
            return self.matrix[:, [place[name] for name in names]]
        out = np.empty((len(self), len(names)))
        for i, name in enumerate(names):
            out[:, i] = self._numbers(name, formats.get(name, PLAIN))
        return out

    def _numbers(self, name: str, form: Format) -> np.ndarray:
        column = self.column(name)
        if column.dtype != object:
            # Once it is decided what columns hold, dates of digits are dates already.
            return form.dated(column) if self.undecided else column
        if ("numbers", name) not in self.memo:
            self.memo["numbers", name] = form.column(name, texts_of(column))
        numbers: np.ndarray = self.memo["numbers", name]
        return numbers

    def renamed(self, names: Sequence[str]) -> Rows:
        """The same columns under other names."""
        if tuple(names) == self.names:
            return self
        now = dict(zip(self.names, names, strict=True))
        columns = None if self.columns is None else {now[name]: column for name, column in self.columns.items()}
        return Rows(
            tuple(names),
            self.matrix,
            columns,
            frozenset(now[name] for name in self.flags),
            {now[name]: form for name, form in self.formats.items()},
            frozenset(now[name] for name in self.declared),
            self.undecided,
        )

    def take(self, index: np.ndarray) -> Rows:
        """Some rows, in the order of ``index``."""
        if self.matrix is not None:
            return replace(self, matrix=self.matrix[index])
        return replace(self, columns={name: self.column(name)[index] for name in self.names})

    def without(self, name: str) -> Rows:
        """All columns but one."""
        kept = tuple(n for n in self.names if n != name)
        some = None if self.matrix is None else self.matrix[:, [i for i, n in enumerate(self.names) if n != name]]
        made = Rows(
            kept,
            some,
            None if some is not None else {n: self.column(n) for n in kept},
            self.flags - {name},
            {n: form for n, form in self.formats.items() if n != name},
            self.declared - {name},
            self.undecided,
        )
        made.memo.update({key: value for key, value in self.memo.items() if key[1] in kept})
        return made


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
        values = [None if np.isnan(v) else plain_text(v) for v in distinct]
    texts = [MISSING if value is None else str(value) for value in values]
    names = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return Levels(tuple(names), np.array([names[text] for text in texts], dtype=np.int64)[codes])


def texts_of(column: np.ndarray) -> Any:
    """A column of objects as a polars series of text."""
    import polars

    return polars.Series([None if v is None else v if type(v) is str else str(v) for v in column], dtype=polars.String)


def is_missing(value: Any) -> bool:
    """None, NaN, pandas' NA and NaT, and empty text are missing."""
    # pandas' own answer no comparison, so they are known by name.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool((isinstance(value, str) and value == "") or (isinstance(value, float | np.floating) and value != value))


def plain_text(value: Any) -> str:
    """1 and 1.0 are the same name: whether whole numbers come as the one or the other depends on what else the column
    holds.
    """
    whole = isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value)
    return str(int(value)) if whole else str(value)
