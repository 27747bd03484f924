"""From raw rows to what a network takes: every statistic from the training rows only, all of it plain JSON."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dashpot.core.errors import ConfigError, DataError, listed
from dashpot.data.rows import Rows, decided
from dashpot.data.tables.columnar import DataWarning
from dashpot.data.tables.columns import (
    OTHER,
    by_column,
    demand_finite,
    demand_finite_spread,
    mean_and_deviation,
    spread,
    tell_constant,
    weighted_median,
)
from dashpot.data.tables.formats import Format
from dashpot.data.tables.monotone import Directed, demand_numbers, directions
from dashpot.data.texts.column import CELLS, MAX_TOPICS, Corpus, TextColumn
from dashpot.data.texts.words import columns_of_text

SCALINGS = ("standard", "robust")


class Layout(NamedTuple):
    """Which columns of the features are what, in their order.

    Attributes:
        numeric: how many come first: the numeric ones and, behind them, the indicators (0 or 1) of missing values.
        nominal: start and stop of each nominal column's one-hot block.
        text: start and stop of the features of all text columns; both are the number of features where there are
            none.
    """

    numeric: int
    nominal: list[tuple[int, int]]
    text: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing(Directed):
    """How rows of a table become features.

    Numeric columns: missing values become the training median, with an indicator column beside them where the training
    rows have any; then scaled: ``"standard"`` subtracts the mean and divides by the standard deviation; ``"robust"``
    subtracts the median, divides by the distance of the quartiles (half the range where that is 0), and bends what lies
    far out: ``x / sqrt(1 + (x / 3)^2)``, which stays within -3 and 3. Nominal columns: one column per level seen in
    training (the 100 most frequent ones, the rest is one level ``(other)``), with an own level for missing where the
    training rows have any; an unseen level is all zeros. Columns that :func:`dashpot.data.texts.column.reads_as_text`
    finds: the topics of their TF-IDF (:class:`dashpot.data.texts.column.TextColumn`), 256 at most for all of them.

    Attributes:
        numeric: their names, in order.
        median, mean, scale: one for each: put where a value is missing, subtracted, divided by.
        indicated: the numeric columns with an indicator of missing values.
        nominal: name -> levels.
        dropped: columns without information in the training rows.
        text: name -> terms, their weights, and topics.
        scaling: ``"standard"`` or ``"robust"``.
        formats: name -> how texts of a column become numbers, where they are more than plain numbers.
        monotone: numeric column -> 1 where the answer must rise with it, -1 where it must fall.

    Papers: robust scaling with a smooth limit: Holzmüller, Grinsztajn and Steinwart, "Better by Default: Strong
        Pre-Tuned MLPs and Boosted Trees on
    Tabular Data", NeurIPS 2024.

    Example:
        >>> import numpy as np
        >>> from dashpot.data.rows import Rows
        >>> colours = np.array(["red", "blue", "red"], dtype=object)
        >>> rows = Rows(("size", "colour"), columns={"size": np.array([1.0, 2.0, 9.0]), "colour": colours})
        >>> plan = Preprocessing.fit(rows)
        >>> plan.feature_names
        ('size', 'colour=blue', 'colour=red')
        >>> plan.layout()
        Layout(numeric=1, nominal=[(1, 3)], text=(3, 3))
    """

    numeric: tuple[str, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    indicated: tuple[str, ...]
    nominal: Mapping[str, tuple[str, ...]]
    dropped: tuple[str, ...]
    kind: str = "table"
    text: Mapping[str, TextColumn] = field(default_factory=dict)
    scaling: str = "standard"
    formats: Mapping[str, Format] = field(default_factory=dict)
    monotone: Mapping[str, int] = field(default_factory=dict)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in the order of the output's columns."""
        levels = [f"{name}={level}" for name, values in self.nominal.items() for level in values]
        terms = [term for name, column in self.text.items() for term in column.names(name)]
        return (*self.numeric, *(f"{name} is missing" for name in self.indicated), *levels, *terms)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row: the number of features."""
        return (self.layout().text[1],)

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""
        pairs: list[tuple[tuple[Any, ...], tuple[float, ...]]] = [
            (self.numeric, part) for part in (self.median, self.mean, self.scale)
        ]
        for text in self.text.values():
            text.check()
        fits = self.scaling in SCALINGS
        for names, part in pairs:
            numbers = np.asarray(part)
            fits &= isinstance(names, tuple) and len(names) == len(numbers)
            fits &= numbers.dtype.kind in "fi" and bool(np.isfinite(numbers).all())
        if not fits or min((*self.scale, 1.0)) <= 0:
            raise ValueError("a table must have finite numbers for each column, and scales above 0")

    def layout(self) -> Layout:
        """Which columns of :meth:`transform`'s output are numeric, nominal and text."""
        stop = first = len(self.numeric) + len(self.indicated)
        blocks = []
        for levels in self.nominal.values():
            blocks.append((stop, stop + len(levels)))
            stop += len(levels)
        return Layout(first, blocks, (stop, stop + sum(map(len, self.text.values()))))

    @staticmethod
    def fit(
        rows: Rows,
        train: np.ndarray | None = None,
        *,
        strict: bool = True,
        scaling: str = "standard",
        weight: np.ndarray | None = None,
        monotone: Any = None,
    ) -> Preprocessing:
        """Learn from the rows ``train`` (all by default).

        Args:
            strict: refuse a table without any information, and warn of columns without; estimators, whose callers
                expect neither, pass False.
            scaling: of numeric columns, ``"standard"`` or ``"robust"``.
            weight: of all rows, above 0; a row of weight 2 counts as two in every statistic. What a column
                is (numbers, levels or text) is seen by rows.
            monotone: directions of columns, as :func:`dashpot.data.tables.monotone.directions` reads them.

        Raises:
            ConfigError: another scaling.
            DataError: infinity in a numeric column, values whose spread is too large for float64, or no column with
                information.
        """
        if scaling not in SCALINGS:
            raise ConfigError("scaling", " or ".join(SCALINGS), scaling)
        rows = _decided(rows)
        picked = np.arange(len(rows)) if train is None else train
        numeric = [name for name in rows.names if rows.matrix is not None or rows.column(name).dtype != object]
        block = rows.numeric(numeric)
        demand_finite(numeric, block)
        block, counts = block[picked], None if weight is None else weight[picked]
        missing = np.isnan(block)
        with np.errstate(over="ignore", invalid="ignore"):  # told by the column's name
            median = by_column(np.median if counts is None else weighted_median, block, missing, weight=counts)
            mean, scale = mean_and_deviation(np.where(missing, median, block), counts)
        demand_finite_spread(numeric, block, mean, scale)
        # What rounding leaves of a constant column is no information.
        flat = np.isnan(median) | (scale <= 1e-12 * np.abs(mean))
        some_missing = missing.any(axis=0) & ~missing.all(axis=0)
        if scaling == "robust":
            mean, scale = median, spread(block, missing, counts)
        constant = [name for name, bad, gaps in zip(numeric, flat, some_missing, strict=True) if bad and not gaps]
        nominal, sentences, same = columns_of_text(rows, numeric, picked, counts)
        constant += same
        directed = directions(monotone)
        demand_numbers(directed, numeric, {*nominal, *sentences}, rows.names)
        text: dict[str, TextColumn] = {}
        for name in sentences:
            most = max(min(MAX_TOPICS, CELLS // len(rows)) // len(sentences), 8)
            codes = rows.levels(name).codes[picked]
            text[name] = TextColumn.fit(Corpus.of_column(rows, name), codes, weight=counts, topics=most)
        keep = [i for i in range(len(numeric)) if not flat[i]]
        indicated = [name for name, gaps in zip(numeric, some_missing, strict=True) if gaps]
        if not keep and not nominal and not indicated and not text:
            if strict:
                names = f"all {len(rows.names)} are constant or empty in the training rows"
                raise DataError(f"the table must have a column that varies; {names}.")
            keep, scale, median, mean = (
                list(range(len(numeric))),
                np.ones(len(numeric)),
                np.nan_to_num(median),
                np.nan_to_num(mean),
            )
            constant = []
        if strict:
            tell_constant(constant, rows, picked)
        kept = {numeric[i] for i in keep}
        return Preprocessing(
            numeric=tuple(numeric[i] for i in keep),
            median=tuple(map(float, median[keep])),
            mean=tuple(map(float, mean[keep])),
            scale=tuple(map(float, scale[keep])),
            indicated=tuple(indicated),
            nominal=nominal,
            dropped=tuple(constant),
            text=text,
            scaling=scaling,
            formats={n: form for n, form in rows.formats.items() if n in kept or n in indicated},
            monotone={name: sign for name, sign in directed.items() if name in kept},
        )

    def transform(self, rows: Rows, *, strict: bool = True) -> np.ndarray:
        """Features as float32 [rows, features].

        Raises:
            DataError: columns that training had are missing, text in a numeric column, or infinity, also what is so
                once it is scaled.

        Warns:
            DataWarning: columns that training did not have are ignored.
        """
        needed = {*self.numeric, *self.indicated, *self.nominal, *self.text}
        given, unused = set(rows.names), set(self.dropped)
        absent = [
            name
            for name in dict.fromkeys((*self.numeric, *self.indicated, *self.nominal, *self.text))
            if name not in given
        ]
        if absent:
            shown = ", ".join(map(repr, absent[:8])) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
            raise DataError(
                f"the data must have every column that training used; missing: {shown}. They have:"
                f" {listed(rows.names)}."
            )
        extra = [name for name in rows.names if name not in needed and name not in unused]
        if extra and strict:
            warnings.warn(
                f"columns that training did not have are ignored: {', '.join(extra[:8])}.", DataWarning, stacklevel=3
            )
        block = rows.numeric(self.numeric, self.formats)
        demand_finite(self.numeric, block)
        first, blocks, (start, stop) = self.layout()
        out = np.zeros((len(rows), stop), dtype=np.float32)
        scaled = np.where(np.isnan(block), np.array(self.median), block)
        with np.errstate(over="ignore"):
            scaled -= np.array(self.mean)
            scaled /= np.array(self.scale)
        beyond = np.abs(scaled) > np.finfo(np.float32).max
        if beyond.any():
            row, column = np.argwhere(beyond)[0]
            raise DataError(
                f"column {self.numeric[column]!r} must hold numbers near those of training, got {block[row, column]:g}"
                f" in row {row + 1}. Correct it."
            )
        if self.scaling == "robust":
            scaled /= np.sqrt(1 + (scaled / 3) ** 2)
        out[:, : len(self.numeric)] = scaled
        if self.indicated:
            out[:, len(self.numeric) : first] = np.isnan(rows.numeric(self.indicated, self.formats))
        for (name, levels), (left, _) in zip(self.nominal.items(), blocks, strict=True):
            column = rows.levels(name)
            place = {level: i for i, level in enumerate(levels)}
            unseen = place.get(OTHER, -1)
            if name in rows.flags:  # a file may have written them in small letters
                place = {level.capitalize(): i for level, i in place.items()} | place
            codes = np.array([place.get(level, unseen) for level in column.names], dtype=np.int64)[column.codes]
            seen = np.flatnonzero(codes >= 0)
            out[seen, left + codes[seen]] = 1
        for name, text in self.text.items():
            text.fill(out[:, start : start + len(text)], rows, name)
            start += len(text)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "formats": {name: form.to_dict() for name, form in self.formats.items()}}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_dict`; what was saved before there were text columns or formats loads too."""
        fixed: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        fixed["nominal"] = {name: tuple(levels) for name, levels in data["nominal"].items()}
        fixed["text"] = {name: TextColumn.from_dict(column) for name, column in data.get("text", {}).items()}
        fixed["formats"] = {name: Format.from_dict(form) for name, form in data.get("formats", {}).items()}
        return Preprocessing(**fixed)


def _decided(rows: Rows) -> Rows:
    """Decided once for a table, by all of its rows, and not in every fold again."""
    if ("decided", "") not in rows.memo:
        rows.memo["decided", ""] = decided(rows)
    found: Rows = rows.memo["decided", ""]
    return found
