"""What a caller says of the columns of a table, and the decision for all of them."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.core.errors import ConfigError, listed
from dashpot.data.tables.columnar import MISSING, DataWarning, Levels, plain_text
from dashpot.data.tables.decide import Verdict, judge
from dashpot.data.tables.formats import MISSING_WORDS, Format
from dashpot.data.tables.written_dates import compact_days

if TYPE_CHECKING:
    import polars

MOST_WARNINGS = 8
LONGEST = 8  # bytes of the longest word for missing, with some spaces


@dataclass(frozen=True)
class Reading:
    """How columns are to be read.

    Attributes:
        numeric: columns of numbers: what is no number in them counts as missing.
        dates: columns of dates: what is no date in them counts as missing.
        categorical: columns of names, also where they look like numbers.
        decimal: the decimal mark of numbers in text, ``"."`` or ``","``; by default what the columns show.
        day_first: whether 05/01/2024 is the 5th of January; by default what the column shows.
    """

    numeric: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    decimal: str | None = None
    day_first: bool | None = None

    @staticmethod
    def of(
        numeric: Iterable[str] | None = None,
        dates: Iterable[str] | None = None,
        categorical: Iterable[str] | None = None,
        decimal: str | None = None,
        day_first: bool | None = None,
    ) -> Reading:
        """Checked options.

        Raises:
            ConfigError: a text in place of a list, one column in two lists, or another decimal mark.
        """
        lists: dict[str, tuple[str, ...]] = {}
        for option, names in (("numeric", numeric), ("dates", dates), ("categorical", categorical)):
            if isinstance(names, str):
                raise ConfigError(option, "a list of names of columns", names, f"Write [{names!r}].")
            lists[option] = tuple(str(name) for name in names or ())
            for other in lists:
                twice = set(lists[other]) & set(lists[option]) if other != option else set()
                if twice:
                    raise ConfigError(option, f"without the columns of {other}", sorted(twice)[0], "Name it once.")
        if decimal not in (None, ".", ","):
            raise ConfigError("decimal", "'.' or ','", decimal)
        return Reading(**lists, decimal=decimal, day_first=day_first)

    def check(self, names: Sequence[str]) -> None:
        """Raise ConfigError where a column is named that the table does not have."""
        for option in ("numeric", "dates", "categorical"):
            for name in getattr(self, option):
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {listed(names)}."
                    raise ConfigError(option, "a list of names of columns of the table", name, hint)

    def want(self, name: str) -> str:
        """What the caller says of a column: ``"number"``, ``"date"``, ``"name"`` or nothing."""
        groups = (("number", self.numeric), ("date", self.dates), ("name", self.categorical))
        return next((kind for kind, names in groups if name in names), "")


@dataclass(frozen=True)
class Columns:
    """A table's columns once it is decided what they are.

    Attributes:
        values: float64 with NaN, or objects with text and None.
        flags: those of truth values.
        formats: how texts became numbers, where that differs from plain numbers.
        levels: of the columns of names.
    """

    values: dict[str, np.ndarray]
    flags: frozenset[str]
    formats: dict[str, Format]
    levels: dict[str, Levels]


def decide(
    columns: Mapping[str, np.ndarray | polars.Series],
    reading: Reading,
    *,
    flags: Iterable[str] = (),
    declared: Iterable[str] = (),
    comma: bool | None = None,
) -> Columns:
    """Decide for all columns of a table what they hold.

    **The rule.** It is the same for CSV files, Parquet, Excel, Feather and ARFF files, data frames, arrays of objects
    and lists. What has a type keeps it: numbers, truth values, dates, declared categories. A column of texts is judged
    by all of its values but the missing ones (empty, NA, N/A, ?, NaN, null):

    1. All are numbers: numbers. They may have thousands separators (``1,234,567``, ``1 234``, ``1'234``), a decimal
       comma (``1.500,50``), a currency (``$5``, ``5 €``), a percent sign (``12%`` is 12) or a unit (``5 cm``), which
       must be the same in the whole column, or be accounting's negatives (``(5)`` is -5).
    2. All are dates, date-times or times: milliseconds since 1970, or since midnight, as those of Parquet.
    3. All are true or false, in any case: truth values.
    4. Anything else: names of categories, or sentences.

    What is not certain is told in one warning for each column, with an example and the option that settles it: codes
    with zeros in front, ``20240131``, days and months that can be swapped, ``1,234`` where nothing shows the decimal
    mark, years of two digits, limits (``<0.5``), numbers with and without a unit, columns that are numbers but for some
    words. The decision is saved with a run, and later files are read by it, whatever their values alone would be.

    Args:
        flags: columns of truth values, as float64.
        declared: columns that were declared to hold categories; they stay as they are.
        comma: whether the table's form speaks for decimal commas, such as semicolons between fields.

    Warns:
        DataWarning: as said above.
    """
    reading.check(list(columns))
    texts = {name: value for name, value in columns.items() if not isinstance(value, np.ndarray)}
    distinct = {name: distinct_of(series) for name, series in texts.items()}
    verdicts: dict[str, Verdict] = {}
    present: dict[str, np.ndarray] = {}
    for name, (values, codes) in distinct.items():
        want = reading.want(name)
        if name in declared or want == "name":
            continue
        there = present[name] = np.flatnonzero(~missing_of(values))
        counts = np.ones(len(values), dtype=np.int64) if codes is None else np.bincount(codes, minlength=len(values))
        verdicts[name] = judge(values if len(there) == len(values) else values.gather(there), counts[there], want)
    for name, given in columns.items():
        if isinstance(given, np.ndarray) and not reading.want(name) and (example := compact_days(given)):
            doubt = f"is read as numbers, though values such as {example!r} may be dates"
            verdicts[name] = Verdict(Format(), doubt, ("numeric", "dates"))
    settled = _settle(verdicts, reading, comma, columns)
    out: dict[str, np.ndarray] = {}
    truth, formats, levels = set(flags), dict[str, Format](), dict[str, Levels]()
    for name, given in columns.items():
        if isinstance(given, np.ndarray):
            out[name] = _typed(given, reading.want(name), name in truth, formats, name)
            if out[name].dtype == object:
                truth.discard(name)
            continue
        values, codes = distinct[name]
        form = settled.get(name)
        if form is None:
            out[name], levels[name] = _names(values, codes, keep=name in declared)
            continue
        known = verdicts[name].numbers
        if known is None:
            numbers = form.read(values)[0]
        else:
            numbers = np.full(len(values), np.nan)
            numbers[present[name]] = known
        out[name] = numbers if codes is None else numbers[codes]
        if form.kind == "truth":
            truth.add(name)
        if form != Format():
            formats[name] = form
    return Columns(out, frozenset(truth), formats, levels)


def distinct_of(series: polars.Series) -> tuple[polars.Series, np.ndarray | None]:
    """The distinct values of a column of texts in their order, and which one each row holds; the column itself and None
    where most are distinct.
    """
    import polars

    some = series.head(10_000)
    if len(series) > 1000 and some.n_unique() > len(some) // 2:
        return series, None
    raw = series.fill_null("").cast(polars.Categorical).to_physical().to_numpy().astype(np.int64)
    first = np.full(int(raw.max(initial=-1)) + 1, len(raw))
    first[raw[::-1]] = np.arange(len(raw))[::-1]
    used = np.flatnonzero(first < len(raw))
    order = used[np.argsort(first[used])]
    place = np.empty(len(first), dtype=np.int64)
    place[order] = np.arange(len(order))
    return series.fill_null("").gather(first[order]), place[raw]


def missing_of(texts: polars.Series) -> np.ndarray:
    """Which texts stand for a missing value in every column."""
    found: np.ndarray = texts.is_null().to_numpy().copy()
    short = np.flatnonzero((texts.str.len_bytes() <= LONGEST).fill_null(False).to_numpy())
    if len(short):
        found[short] = texts.gather(short).str.strip_chars().is_in(MISSING_WORDS).to_numpy()
    return found


def _names(values: polars.Series, codes: np.ndarray | None, keep: bool) -> tuple[np.ndarray, Levels]:
    """Names as objects, and as codes; of declared categories only the empty one is missing."""
    absent = (values.fill_null("") == "").to_numpy() if keep else missing_of(values)
    names = np.array([*values.to_list(), None], dtype=object)[:-1]
    names[absent] = None
    if codes is None:
        place = {name: i for i, name in enumerate(dict.fromkeys(names.tolist()))}
        found = np.fromiter(map(place.__getitem__, names.tolist()), dtype=np.int64, count=len(names))
        return names, Levels(tuple(MISSING if name is None else name for name in place), found)
    place = {name: i for i, name in enumerate(dict.fromkeys(names.tolist()))}
    merged = np.array([place[name] for name in names.tolist()], dtype=np.int64)
    return names[codes], Levels(tuple(MISSING if name is None else name for name in place), merged[codes])


def _typed(values: np.ndarray, want: str, flag: bool, formats: dict[str, Format], name: str) -> np.ndarray:
    """A column that came as numbers, of which the caller may say that they are names or dates."""
    if want == "name":
        truth = {0.0: "False", 1.0: "True"} if flag else {}
        texts: list[Any] = [None if np.isnan(v) else truth.get(v) or plain_text(v) for v in values]
        return np.array([*texts, None], dtype=object)[:-1]
    if want == "date":
        form = Format("date", compact=True, lenient=True)
        read = form.dated(values)
        if read is not values:
            formats[name] = form
        return read
    return values


def _settle(
    verdicts: Mapping[str, Verdict], reading: Reading, comma: bool | None, columns: Mapping[str, Any]
) -> dict[str, Format | None]:
    """Choose between two readings by what the caller says, then by what other columns show, and warn of the rest."""
    shown = {verdict.comma for verdict in verdicts.values()} - {None}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and name not in verdicts and values.dtype != object:
            shown |= {False} if comma is not None and (values[:1000] % 1 > 0).any() else set()
    out: dict[str, Format | None] = {}
    doubts: list[str] = []
    for name, verdict in verdicts.items():
        form, doubt = verdict.format, verdict.doubt
        if form is not None:
            form, doubt = choice(verdict, form, reading, shown, comma)
        out[name] = form
        settled = reading.want(name) and verdict.options not in (("decimal",), ("day_first",), ())
        if doubt and not settled:
            doubts.append(f"column {name!r} {doubt}.{way_out(name, verdict.options)}")
    for doubt in doubts[:MOST_WARNINGS]:
        warnings.warn(doubt, DataWarning, stacklevel=4)
    if len(doubts) > MOST_WARNINGS:
        warnings.warn(f"{len(doubts) - MOST_WARNINGS} more columns are not certain.", DataWarning, stacklevel=4)
    return out


def choice(
    verdict: Verdict, form: Format, reading: Reading, shown: set[bool | None], comma: bool | None
) -> tuple[Format, str]:
    """Of two readings the one that the caller says, or that the table shows; and what doubt remains.

    Args:
        form: that of the verdict.
        shown: whether certain columns of the table have decimal commas (True), points (False), or both.
        comma: whether the file's form speaks for them.
    """
    other = verdict.other
    if other is None:
        return form, verdict.doubt
    if form.kind == "date":
        if reading.day_first is None:
            return form, verdict.doubt
        return (other if reading.day_first else form), ""
    if reading.decimal is not None:
        return (other if reading.decimal == "," else form), ""
    if shown == {True}:
        return other, ""
    if shown == {False} or not verdict.doubt:
        return form, ""
    if comma:
        doubt = verdict.doubt.replace("is read with separated thousands", "is read with a decimal comma")
        return other, doubt.replace("may have a decimal comma", "may have separated thousands")
    return form, verdict.doubt


def way_out(name: str, options: Sequence[str]) -> str:
    """The sentence that says what settles a doubt."""
    if options == ("decimal",):
        return " Say decimal='.' or decimal=',' (--decimal)."
    if options == ("day_first",):
        return " Say day_first=True or day_first=False (--day-first, --month-first)."
    if not options:
        return ""
    said = " or ".join(f"{option}=[{name!r}]" for option in options)
    return f" Say {said} ({', '.join(f'--{option}' for option in options)})."
