"""What stands beside texts in a table: columns of names and of numbers, as words of their row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.tables.columnar import MISSING, is_missing, levels_of
from dashpot.data.tables.columns import MAX_LEVELS, demand_finite
from dashpot.data.tables.formats import Format
from dashpot.data.texts.column import reads_as_text
from dashpot.texts.spelling import FIELD

BINS = 8


@dataclass(frozen=True)
class Fields:
    """Columns of names and of numbers.

    A name is one word, ``colour=red``. A number is as many words as there are limits below it, ``price>3.5``, so that
    near numbers share most of theirs: the limits are the quantiles 1/8 to 7/8 of the training rows. A missing value is
    the word ``colour=(missing)``. Levels that are in fewer than 2 training rows are no words, as new ones are none.

    Attributes:
        names: the columns of names.
        limits: column of numbers -> its limits, rising.
        formats: how texts of later files become numbers, where that differs from plain numbers.

    Example:
        >>> table = np.array([["red", 1.0], ["blue", 2.0], ["red", 3.0], [None, 9.0]], dtype=object)
        >>> fields = Fields.fit(table, np.arange(4), ("colour", "size"), {"colour"})
        >>> [word.lstrip(FIELD) for word in fields.words("colour", table[:, 0])[3]]
        ['colour=(missing)']
        >>> [word.lstrip(FIELD) for word in fields.words("size", table[:, 1])[2]]
        ['size>1.375', 'size>1.75', 'size>2.125', 'size>2.5', 'size>2.875']
    """

    names: tuple[str, ...] = ()
    limits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)

    @staticmethod
    def fit(
        table: np.ndarray,
        train: np.ndarray,
        columns: Sequence[str],
        names: Collection[str] = (),
        formats: Mapping[str, Format] | None = None,
    ) -> Fields:
        """Decide by the rows ``train`` of ``table``, objects [n, columns].

        A column of floats holds numbers. Of the others those are texts that hold sentences
        (:func:`dashpot.data.texts.column.reads_as_text`) or values that hardly repeat: more than 100, or more than half
        as many as rows. Where none would be a text all are.

        Args:
            names: columns that hold names, as the caller says.
            formats: of columns of numbers.

        Raises:
            DataError: infinity.
        """
        limits: dict[str, tuple[float, ...]] = {}
        found: list[str] = []
        texts = False
        for i, name in enumerate(columns):
            if _numeric(table[:, i]):
                limits[name] = _limits(_numbers(name, table[train, i]))
            elif name in names or not _is_text(table[:, i], train):
                found.append(name)
            else:
                texts = True
        kept = found if texts else [name for name in found if name in names]
        known = {name: form for name, form in (formats or {}).items() if name in limits}
        return Fields(tuple(kept), limits, known)

    def __contains__(self, name: str) -> bool:
        return name in self.names or name in self.limits

    def __bool__(self) -> bool:
        return bool(self.names or self.limits)

    def words(self, name: str, column: np.ndarray) -> list[list[str]]:
        """The words of each row for one of the columns.

        Raises:
            DataError: infinity, or a text in a column of numbers.
        """
        if name in self.names:
            shown = levels_of(column)
            every = [[f"{FIELD}{name}={level}"] for level in shown.names]
            return [every[code] for code in shown.codes]
        numbers, limits = _numbers(name, column), self.limits[name]
        ladder = [f"{FIELD}{name}>{limit:.12g}" for limit in limits]
        below = np.searchsorted(np.array(limits), numbers, side="left")
        return [
            [f"{FIELD}{name}={MISSING}"] if missing else ladder[:count]
            for missing, count in zip(np.isnan(numbers), below, strict=True)
        ]

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        for limits in self.limits.values():
            numbers = np.asarray(limits, dtype=np.float64)
            if not np.isfinite(numbers).all() or (np.diff(numbers) <= 0).any():
                raise ValueError("limits of numbers must be finite and rise")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        formats = {name: form.to_dict() for name, form in self.formats.items()}
        return {"names": list(self.names), "limits": {n: list(v) for n, v in self.limits.items()}, "formats": formats}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Fields:
        """The inverse of :meth:`to_dict`; what was saved before there were such columns loads too."""
        formats = {name: Format.from_dict(form) for name, form in data.get("formats", {}).items()}
        limits = {name: tuple(map(float, values)) for name, values in data.get("limits", {}).items()}
        return Fields(tuple(data.get("names", ())), limits, formats)


def _numeric(column: np.ndarray) -> bool:
    """Whether all that is there are numbers."""
    there = [value for value in column.tolist() if not is_missing(value)]
    return bool(there) and all(isinstance(value, int | float) for value in there)


def _is_text(column: np.ndarray, train: np.ndarray) -> bool:
    levels = levels_of(column)
    if reads_as_text(levels, train):
        return True
    count = np.bincount(levels.codes[train], minlength=len(levels.names))
    if MISSING in levels.names:
        count[levels.names.index(MISSING)] = 0
    distinct = int((count > 0).sum())
    return distinct > MAX_LEVELS or 2 * distinct > int(count.sum())


def _numbers(name: str, column: np.ndarray) -> np.ndarray:
    try:
        found = np.array([np.nan if is_missing(value) else float(value) for value in column.tolist()])
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} must hold numbers, as in training: {error}. Correct the value.") from None
    demand_finite([name], found[:, None])
    return found


def _limits(numbers: np.ndarray) -> tuple[float, ...]:
    """Quantiles below the largest number; where almost all are the largest, the smallest one."""
    there = numbers[~np.isnan(numbers)]
    if not len(there) or there.min() == there.max():
        return ()
    found = np.unique(np.quantile(there, np.arange(1, BINS) / BINS))
    found = found[found < there.max()]
    return tuple(map(float, found if len(found) else [there.min()]))
