"""What a column of texts holds: numbers, dates, times, truth values or names. One rule for every source of data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dashpot.data.tables.formats import Format
from dashpot.data.tables.written_dates import COMPACT, NUMERIC, SHORT_YEAR, iso_moments, read_dates, read_times
from dashpot.data.tables.written_numbers import GROUPED_POINTS, PLAIN, Numbers, is_currency, read_numbers

if TYPE_CHECKING:
    import polars

NEARLY_ALL = 0.9
SAMPLE = 300
LIKELY_UNITS = 3
"""Numbers with more units than these are rather names, such as addresses."""
MISSING_LIKE = {
    "-",
    "--",
    "---",
    ".",
    "..",
    "...",
    "n.a.",
    "N.A.",
    "na",
    "Na",
    "n/a.",
    "none",
    "None",
    "NONE",
    "missing",
}
MISSING_LIKE |= {"Null", "nil", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "0000-00-00"}
"""Words that stand for missing where all else in a column is a number or a date."""


@dataclass(frozen=True)
class Verdict:
    """What a column is.

    Attributes:
        format: how its texts are read; None where they are names.
        doubt: what speaks against it, as the rest of a sentence that begins with the column's name; empty where it is
            certain.
        options: those that settle it.
        other: how they are read if the decimal mark is the comma, or if the day comes first, where both can be.
        comma: whether it shows that the table has decimal commas (True) or points (False).
        numbers: what its texts are, where that is known already.
    """

    format: Format | None
    doubt: str = ""
    options: tuple[str, ...] = ("numeric", "categorical")
    other: Format | None = None
    comma: bool | None = None
    numbers: np.ndarray | None = None


NAMES = Verdict(None)


def judge(texts: polars.Series, counts: np.ndarray, want: str = "") -> Verdict:
    """Judge a column by all of its values.

    Args:
        texts: its distinct values, of which none is missing.
        counts: how many rows hold each of them.
        want: ``"number"`` or ``"date"`` where the caller has said so.

    Example:
        >>> import polars
        >>> judge(polars.Series(["$1,500.50", "$7"]), np.array([1, 1])).format.to_dict()
        {'unit': '$'}
        >>> judge(polars.Series(["red", "blue"]), np.array([1, 1])).format is None
        True
    """
    if want == "date":
        return _wanted_dates(texts, counts)
    if len(texts) == 0:
        return Verdict(Format())
    if not want and (moments := iso_moments(texts)) is not None:
        return Verdict(Format("date"), numbers=moments)
    texts = texts.str.strip_chars()
    if not want:
        if len(texts) <= 6 and texts.str.to_lowercase().is_in(["true", "false"]).all():
            return Verdict(Format("truth"))
        some = texts.gather_every(max(1, len(texts) // SAMPLE))
        if some.str.contains(r"\d|(?i)^[+-]?inf").mean() < 0.5:  # type: ignore[operator]  # a mean of truth values
            return NAMES
    if texts.head(SAMPLE).str.contains(PLAIN).all() and texts.str.contains(PLAIN).all():
        return _plain(texts, asked=bool(want))
    if not want:
        dated = _dates(texts, counts)
        if dated is not None:
            return dated
    return _numbers(texts, counts, asked=bool(want))


def _plain(texts: polars.Series, asked: bool) -> Verdict:
    if texts.str.contains(r"^[+-]?0\d").any() and not asked:
        example = texts.filter(texts.str.contains(r"^[+-]?0\d"))[0]
        return Verdict(Format(), f"is read as numbers, though values such as {example!r} may be names")
    if texts.str.contains(COMPACT).all() and not asked and _reads_as_days(read_dates(texts, compact=True)):
        return Verdict(
            Format(), f"is read as numbers, though values such as {texts[0]!r} may be dates", ("numeric", "dates")
        )
    if texts.str.contains(r"\.").any():
        grouped = texts.str.contains(GROUPED_POINTS) | ~texts.str.contains(".", literal=True)
        return Verdict(Format(), other=Format(decimal=",")) if grouped.all() else Verdict(Format(), comma=False)
    return Verdict(Format())


def _reads_as_days(values: np.ndarray) -> bool:
    years = values / (365.2425 * 86_400e3) + 1970
    return bool(len(values) > 1 and ((years > 1900) & (years < 2100)).all())


def _dates(texts: polars.Series, counts: np.ndarray) -> Verdict | None:
    """A verdict if the texts are dates or times, or nearly all of them are; else None."""
    some = texts.gather_every(max(1, len(texts) // SAMPLE))
    hopeful = max((~np.isnan(read(some))).mean() for read in (read_dates, _month_first, read_times))
    if hopeful < 0.5:
        return None
    for kind, values in (("date", read_dates(texts)), ("date", _month_first(texts)), ("time", read_times(texts))):
        if not np.isnan(values).any():
            if kind == "time":
                return Verdict(Format(kind))
            return _order(texts, values)
    return _nearly_dates(texts, counts)


def _month_first(texts: polars.Series) -> np.ndarray:
    return read_dates(texts, "mdy")


def _order(texts: polars.Series, values: np.ndarray) -> Verdict:
    """All are dates: which order of day and month."""
    day_first, month_first = read_dates(texts), _month_first(texts)
    if texts.str.contains(SHORT_YEAR).any():
        short = texts.filter(texts.str.contains(SHORT_YEAR))[0]
        doubt = f"is read as dates, though values such as {short!r} have a year of two digits"
    else:
        doubt = ""
    options = ("dates", "categorical")
    if np.isnan(month_first).any():
        return Verdict(Format("date", order="dmy"), doubt, options)
    if np.isnan(day_first).any():
        return Verdict(Format("date", order="mdy"), doubt, options)
    if (day_first == month_first).all():
        return Verdict(Format("date"), doubt, options)
    example = texts.filter(texts.str.contains(NUMERIC))[0]
    doubt = f"is read as dates with the month first, though in values such as {example!r} the day may come first"
    return Verdict(Format("date", order="mdy"), doubt, ("day_first",), other=Format("date", order="dmy"))


def _nearly_dates(texts: polars.Series, counts: np.ndarray) -> Verdict | None:
    best = max(
        (Format("date", order="dmy"), Format("date", order="mdy"), Format("time")),
        key=lambda form: counts[~form.read(texts)[1]].sum(),
    )
    return _nearly(best, texts, counts, "dates", "dates")


def _wanted_dates(texts: polars.Series, counts: np.ndarray) -> Verdict:
    forms = [Format("date", order=order, compact=True) for order in ("mdy", "dmy")] + [Format("time")]
    rest = [counts[form.read(texts)[1]].sum() for form in forms]
    best = int(np.argmin(rest))
    compact = bool(texts.str.contains(COMPACT).any())
    found = replace(forms[best], compact=compact and best < 2)
    odd = _odd(found, texts)
    found = replace(found, lenient=True)
    doubt = f"has values that are no dates and count as missing, such as {odd!r}" if odd is not None else ""
    if best == 0 and not rest[1] and not doubt:
        verdict = _order(texts, read_dates(texts, compact=True)) if not compact else Verdict(found)
        other = verdict.other and replace(verdict.other, lenient=True)
        return Verdict(found, verdict.doubt if other else "", verdict.options, other)
    return Verdict(found, doubt, ())


def _numbers(texts: polars.Series, counts: np.ndarray, asked: bool) -> Verdict:
    point, comma = read_numbers(texts), read_numbers(texts, ",")
    good = {".": ~np.isnan(point.values), ",": ~np.isnan(comma.values)}
    if asked:
        return _wanted_numbers(texts, {".": point, ",": comma}, good)
    if good["."].all() or good[","].all():
        both = good["."].all() and good[","].all() and (point.values != comma.values).any()
        decimal = "." if good["."].all() else ","
        verdict = _units(texts, counts, point if decimal == "." else comma, decimal)
        if verdict.format is None:
            return verdict
        if both and is_currency(verdict.format.unit):
            # Amounts have no three decimals: $1,700 and 1.700 € are thousands.
            more = "." if np.abs(point.values).sum() > np.abs(comma.values).sum() else ","
            return replace(verdict, format=replace(verdict.format, decimal=more))
        if both and not verdict.doubt:
            example = texts.gather(np.flatnonzero(point.values != comma.values)[:1])[0]
            doubt = f"is read with separated thousands, though values such as {example!r} may have a decimal comma"
            return replace(verdict, doubt=doubt, options=("decimal",), other=replace(verdict.format, decimal=","))
        return replace(verdict, comma=None if good["."].all() and good[","].all() else decimal == ",")
    decimal = max(".,", key=lambda mark: counts[good[mark]].sum())
    units = {unit for unit in (point if decimal == "." else comma).units[good[decimal]] if unit}
    if len(units) > 1:
        return NAMES
    found = Format(decimal=decimal, unit=next(iter(units), ""))
    return _nearly(found, texts, counts, "numbers", "numeric") or NAMES


def _units(texts: polars.Series, counts: np.ndarray, found: Numbers, decimal: str) -> Verdict:
    """All are numbers: whether of one unit, and whether they are limits."""
    units = sorted({unit for unit in found.units if unit})
    if len(units) > LIKELY_UNITS:
        return NAMES
    if len(units) > 1:
        return Verdict(None, f"is read as names, though they look like numbers with the units {', '.join(units)}")
    form = Format(decimal=decimal, unit=units[0] if units else "")
    if units and (found.units == "").any():
        bare = texts.gather(np.flatnonzero(found.units == "")[:1])[0]
        return Verdict(form, f"is read as numbers, though {bare!r} is without the unit {units[0]!r} of the others")
    if found.limits.any():
        example = texts.gather(np.flatnonzero(found.limits)[:1])[0]
        share = counts[found.limits].sum() / counts.sum()
        return Verdict(
            form, f"is read as numbers, though {share:.0%} of it are limits such as {example!r}, taken as the number"
        )
    return Verdict(form)


def _wanted_numbers(texts: polars.Series, read: dict[str, Numbers], good: dict[str, np.ndarray]) -> Verdict:
    decimal = max(".,", key=lambda mark: int(good[mark].sum()))
    units = {unit for unit in read[decimal].units[good[decimal]] if unit}
    one = len(units) <= 1
    form = Format(decimal=decimal, unit=next(iter(units), "") if one else "", any_unit=not one)
    odd = _odd(form, texts)
    doubt = f"has values that are no numbers and count as missing, such as {odd!r}" if odd is not None else ""
    return Verdict(replace(form, lenient=True), doubt, ())


def _nearly(form: Format, texts: polars.Series, counts: np.ndarray, what: str, option: str) -> Verdict | None:
    """Nearly all are numbers or dates: the rest may stand for missing values, or make all of them names."""
    bad = form.read(texts)[1]
    share = 1 - counts[bad].sum() / counts.sum()
    words = [text for text in texts.gather(np.flatnonzero(bad)[:20]) if text is not None]
    if set(words) <= MISSING_LIKE and share >= 0.5:
        missing = tuple(dict.fromkeys(texts.gather(np.flatnonzero(bad)).to_list()))
        return Verdict(
            replace(form, missing=missing),
            f"is read as {what}, and {words[0]!r} as missing",
            (option, "categorical"),
        )
    if share < NEARLY_ALL:
        return None
    doubt = f"is read as text, though {share:.0%} of it look like {what}, because of {words[0]!r}"
    return Verdict(None, doubt, (option, "categorical"))


def _odd(form: Format, texts: polars.Series) -> str | None:
    bad = form.read(texts)[1]
    return str(texts[int(bad.argmax())]) if bad.any() else None
