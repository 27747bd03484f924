"""How the texts of a column are read as numbers: decided once, saved with a run, and used for every later file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.core.errors import DataError
from dashpot.data.tables.written_dates import ORDERS, read_dates, read_times
from dashpot.data.tables.written_numbers import read_numbers

if TYPE_CHECKING:
    import polars

MISSING_WORDS = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL")
"""What counts as missing in every column that is text when it is read."""
KINDS = {"number": "numbers", "date": "dates", "time": "times", "truth": "truth values"}


@dataclass(frozen=True)
class Format:
    """How a text becomes a number.

    Attributes:
        kind: ``"number"``, ``"date"`` (milliseconds since 1970), ``"time"`` (since midnight) or ``"truth"`` (1 and 0).
        decimal: the decimal mark of numbers.
        unit: the currency, percent sign or unit that numbers may have; a number with another one is refused.
        order: of day and month in dates such as 05/01/2024.
        compact: whether 20240131 is a date.
        any_unit: whether numbers may have any unit.
        missing: words that stand for missing values in this column.
        lenient: whether all other words do too, since the caller said what the column is.

    Example:
        >>> import polars
        >>> values, bad = Format(unit="$").read(polars.Series(["$1,500", "7", "5 cm"]))
        >>> values.tolist(), bad.tolist()
        ([1500.0, 7.0, nan], [False, False, True])
    """

    kind: str = "number"
    decimal: str = "."
    unit: str = ""
    order: str = "dmy"
    compact: bool = False
    any_unit: bool = False
    missing: tuple[str, ...] = ()
    lenient: bool = False

    def read(self, texts: polars.Series) -> tuple[np.ndarray, np.ndarray]:
        """Numbers, NaN for missing, and which texts are neither a number nor missing."""
        absent = (texts.is_null() | texts.str.strip_chars().is_in([*MISSING_WORDS, *self.missing])).to_numpy()
        if self.kind == "number":
            found = read_numbers(texts, self.decimal)
            known = self.any_unit | (found.units == "") | (found.units == self.unit)
            values = np.where(known, found.values, np.nan)
        elif self.kind == "date":
            values = read_dates(texts, self.order, self.compact)
        elif self.kind == "time":
            values = read_times(texts)
        else:
            values = read_truth(texts)
        values = np.where(absent, np.nan, values)
        bad = np.isnan(values) & ~absent
        return values, bad & (not self.lenient)

    def column(self, name: str, texts: polars.Series) -> np.ndarray:
        """A whole column.

        Raises:
            DataError: a text that is neither; it is named with its row.
        """
        values, bad = self.read(texts)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"column {name!r} must hold {KINDS[self.kind]}, as it did in training; row {row + 1} holds"
                f" {texts[row]!r}. Correct the value or leave it empty."
            )
        return values

    def dated(self, values: np.ndarray) -> np.ndarray:
        """Numbers such as 20240131 as the dates they are, where this column holds such dates."""
        if not self.compact or not len(values) or not (np.nanmin(values, initial=1e9) > 1e7):
            return values
        import polars

        whole = [None if np.isnan(value) else str(int(value)) for value in values]
        read = read_dates(polars.Series(whole, dtype=polars.String), self.order, compact=True)
        return values if (np.isnan(read) & ~np.isnan(values)).any() else read

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what differs from the defaults."""
        plain = Format()
        return {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Format:
        """The inverse of :meth:`to_dict`; ValueError where a value cannot be."""
        made = Format(**{**data, "missing": tuple(data.get("missing", ()))})
        texts = (made.kind, made.decimal, made.unit, made.order, *made.missing)
        fits = made.kind in KINDS and made.decimal in (".", ",") and made.order in ORDERS
        if not fits or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"a column must be read in a known way, not {data}")
        return made


PLAIN = Format()


def read_truth(texts: polars.Series) -> np.ndarray:
    """1 for true, 0 for false (also written 1 and 0), in any case; NaN for anything else."""
    small = texts.str.strip_chars().str.to_lowercase()
    yes, no = small.is_in(["true", "1"]).fill_null(False), small.is_in(["false", "0"]).fill_null(False)
    return np.where(yes.to_numpy(), 1.0, np.where(no.to_numpy(), 0.0, np.nan))
