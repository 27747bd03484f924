"""Dates, date-times and times of day as people write them, as milliseconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars

_NAMES = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october"]
_NAMES += ["november", "december"]
MONTHS = {short: i + 1 for i, name in enumerate(_NAMES) for short in (name, name[:3])} | {"sept": 9}
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
)
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
_WORD = r"(?P<month>[A-Za-z]{3,9})"
_WEEKDAY = r"(?:[A-Za-z]{3,9},?\s+)?"
_TH = r"(?:st|nd|rd|th)?"
_DAYS = (
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
    r"(?P<first>\d{1,2})[-/.](?P<other>\d{1,2})[-/.](?P<year>\d{4}|\d{2})",
    rf"{_WEEKDAY}(?P<day>\d{{1,2}}){_TH}[-/ .]+{_WORD}\.?,?[-/ ]+(?P<year>\d{{4}}|\d{{2}})",
    rf"{_WEEKDAY}{_WORD}\.?\s+(?P<day>\d{{1,2}}){_TH},?\s+(?P<year>\d{{4}})",
    r"(?P<year>\d{4})[-/](?P<month>\d{1,2})",
    rf"{_WORD}\.?[-/ ,]+(?P<year>\d{{4}})",
    r"(?P<month>\d{1,2})/(?P<year>\d{4})",
)
_FORMS = tuple(rf"^{day}(?:[T ,]+{_CLOCK}{_ZONE})?$" for day in _DAYS)
_TIME = rf"^{_CLOCK}$"
COMPACT = r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})$"
"""20240131: a number unless it is said to be a date."""
NUMERIC = r"^\d{1,2}[-/]\d{1,2}[-/](?:\d{4}|\d{2})\b"
"""Dates that do not say by themselves whether the day or the month comes first; with points it is the day."""
SHORT_YEAR = r"^\d{1,2}[-/. ]+\w{1,9}[-/. ]+\d{2}(?:\D|$)"
_ISO = r"\d{4}-\d{2}-\d{2}(?:([T ])\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?)?$"
ORDERS = ("dmy", "mdy")


def read_dates(texts: polars.Series, order: str = "dmy", compact: bool = False) -> np.ndarray:
    """Milliseconds since 1970 (UTC where a zone is given), as polars and Parquet count dates; NaN where a text is no
    date.

    Args:
        order: of day and month in 05/01/2024: ``"dmy"`` or ``"mdy"``. With points, 05.01.2024, the day comes first.
        compact: whether 20240131 is a date.

    Example:
        >>> import polars
        >>> texts = polars.Series(["1970-01-02", "02/01/1970 01:00", "Jan 2, 1970", "1970-13-01", "x"])
        >>> (read_dates(texts) / 3_600_000).tolist()
        [24.0, 25.0, 24.0, nan, nan]
    """
    texts = texts.str.strip_chars()
    if (fast := iso_moments(texts)) is not None:
        return fast
    out = np.full(len(texts), np.nan)
    left = np.arange(len(texts))
    for form in (*_FORMS, *((COMPACT,) if compact else ())):
        if not len(left):
            break
        values = _read(texts.gather(left) if len(left) < len(texts) else texts, form, order)
        out[left] = values
        left = left[np.isnan(values)]
    return out


def read_times(texts: polars.Series) -> np.ndarray:
    """Milliseconds since midnight (or of a duration: 25:10 is fine); NaN where a text is no time.

    Example:
        >>> import polars
        >>> (read_times(polars.Series(["01:30", "1:30:30 pm", "x"])) / 1000).tolist()
        [5400.0, 48630.0, nan]
    """
    parts = texts.str.strip_chars().str.extract_groups(_TIME).struct.unnest()
    return _clock(parts) / 1000


def compact_days(values: np.ndarray) -> str:
    """The first one, if all are whole numbers such as 20240131 that name a day from 1900 to 2099; else empty."""
    import polars

    there = values[~np.isnan(values)]
    if len(there) < 2 or there[0] < 19000101 or there.min() < 19000101 or there.max() > 20991231 or (there % 1).any():
        return ""
    days = np.unique(there)
    texts = polars.Series(days).cast(polars.Int64).cast(polars.String)
    found = len(days) > 1 and not np.isnan(read_dates(texts, compact=True)).any()
    return str(int(there[0])) if found else ""


def iso_moments(texts: polars.Series) -> np.ndarray | None:
    """The usual cases in one fast pass: all are 2024-01-31, or all are 2024-01-31T10:00:00; else None."""
    import polars

    if not len(texts) or texts[0] is None or not (found := re.match(_ISO, texts[0])):
        return None
    if found.group(1) is None:
        if not (texts.str.len_bytes() == 10).all():
            return None
        read = texts.str.to_date("%Y-%m-%d", strict=False).cast(polars.Datetime("us"))
    else:
        read = texts.str.to_datetime(f"%Y-%m-%d{found.group(1)}%H:%M:%S%.f", time_unit="us", strict=False)
    if read.null_count():
        return None
    moments: np.ndarray = read.to_physical().to_numpy().astype(np.float64) / 1000
    return moments


def _read(texts: polars.Series, form: str, order: str) -> np.ndarray:
    import polars

    parts = texts.str.extract_groups(form).struct.unnest()
    if "first" in parts.columns:
        pointed = texts.str.contains(r"^\d{1,2}\.").fill_null(value=False).to_numpy() | (order == "dmy")
        one, other = _whole(parts["first"]), _whole(parts["other"])
        day, month = np.where(pointed, one, other), np.where(pointed, other, one)
    else:
        day = _whole(parts["day"]) if "day" in parts.columns else np.ones(len(texts))
        word = r"[A-Za-z]{3,9}" in form and not parts["month"].str.contains(r"^\d").any()
        if word:
            known = parts["month"].str.to_lowercase().replace_strict(MONTHS, default=None, return_dtype=polars.Int64)
            month = known.cast(polars.Float64).to_numpy()
        else:
            month = _whole(parts["month"])
    year = _whole(parts["year"])
    short = parts["year"].str.len_bytes().fill_null(4).to_numpy() == 2
    year = np.where(short, year + np.where(year < 69, 2000, 1900), year)
    good = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (year >= 1)
    year, month, day = (np.where(good, part, 1970 if i == 0 else 1) for i, part in enumerate((year, month, day)))
    start = ((year - 1970) * 12 + month - 1).astype(np.int64).astype("M8[M]")
    good &= day <= ((start + 1).astype("M8[D]") - start.astype("M8[D]")).astype(np.int64)
    # Whole microseconds are exact in float64, so that the same instant is the same number whichever way it came.
    values = (start.astype("M8[D]").astype(np.int64) + day - 1) * 86_400e6
    if "hour" in parts.columns:
        has = parts["hour"].is_not_null().to_numpy()
        clock = np.where(has, _clock(parts), 0.0)
        good &= ~np.isnan(clock) & (clock < 86_400e6)
        values = values + clock - _offset(parts["zone"])
    return np.where(good, values, np.nan) / 1000


def _clock(parts: polars.DataFrame) -> np.ndarray:
    """Microseconds."""
    hour, minute = _whole(parts["hour"]), _whole(parts["minute"])
    second = np.nan_to_num(_whole(parts["second"]))
    fraction = np.nan_to_num(_whole("0." + parts["part"]))
    half = parts["half"].str.to_lowercase().str.slice(0, 1).fill_null("").to_numpy()
    good = (minute < 60) & (second < 60) & ((half == "") | ((hour >= 1) & (hour <= 12)))
    hour = np.where(half == "p", hour % 12 + 12, np.where(half == "a", hour % 12, hour))
    clock: np.ndarray = np.where(good, np.round(((hour * 60 + minute) * 60 + second + fraction) * 1e6), np.nan)
    return clock


def _offset(zone: polars.Series) -> np.ndarray:
    """Microseconds by which a zone is ahead of UTC."""
    digits = zone.str.replace_all(r"[^\d]", "").str.pad_end(4, "0")
    minutes = np.nan_to_num(_whole(digits.str.slice(0, 2))) * 60 + np.nan_to_num(_whole(digits.str.slice(2, 2)))
    behind = zone.str.starts_with("-").fill_null(False).to_numpy()
    ahead: np.ndarray = np.where(behind, -minutes, minutes) * 60e6
    return ahead


def _whole(part: polars.Series) -> np.ndarray:
    import polars

    values: np.ndarray = part.cast(polars.Float64, strict=False).to_numpy()
    return values
