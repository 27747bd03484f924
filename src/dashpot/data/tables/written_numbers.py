"""Numbers as people write them: with currencies, percent signs, units, thousands separators, decimal commas, limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import polars

PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
"""A number as programs write it."""
GROUPED_POINTS = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$"
"""1.234: a plain number, and 1,234 where the decimal mark is a comma."""
SPACES = "[\u00a0\u2007\u2009\u202f]"
_EXPONENT = r"(?:[eE][+-]?\d+)?"
# A group never begins with 0: 0,500 has a decimal comma. Groups of two digits are Indian (1,00,000).
_POINT = (
    rf"(?:[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}|[1-9]\d{{0,2}}(?:[ ']\d{{3}})+|\d+)(?:\.\d*)?{_EXPONENT}"
    rf"|\.\d+{_EXPONENT}"
)
_COMMA = rf"(?:[1-9]\d{{0,2}}(?:[. ']\d{{3}})+|\d+)(?:,\d*)?{_EXPONENT}|,\d+{_EXPONENT}"
_CURRENCY = (
    r"[A-Z]{0,2}[$]|[€£¥￥₹₩₽₺₪฿₫₴₦₱₡₲₵₸₼₾]|Rs\.?|kr\.?|Kč|zł|Ft|元"
    r"|(?:USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|HKD|SGD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|RUB|THB)"
)
# No digit, no mark of a number, a date, a range or a code comes first.
_UNIT = r"[^\d\s.,;:+\-()<>'\"/_\\=#&][^\s()]{0,11}(?: [^\s\d()]\S{0,11})?"
_NUMBERS = {
    mark: (
        r"^(?P<limit><=|>=|<|>|≤|≥)?\s*(?P<open>\()?(?P<sign>[+-])?\s*"
        rf"(?P<before>{_CURRENCY})?\s*(?P<inner>[+-])?(?P<number>{number})\s*(?P<after>{_UNIT})?(?P<close>\))?$"
    )
    for mark, number in ((".", _POINT), (",", _COMMA))
}


class Numbers(NamedTuple):
    """Texts as numbers.

    Attributes:
        values: float64; NaN where a text is no number.
        units: of each text the currency, percent sign or unit; empty where there is none.
        limits: whether the number is a limit, such as <0.5.
    """

    values: np.ndarray
    units: np.ndarray
    limits: np.ndarray


def is_currency(unit: str) -> bool:
    """Whether a unit is a currency."""
    return re.fullmatch(_CURRENCY, unit) is not None


def tidied(texts: polars.Series) -> polars.Series:
    """Without spaces around, and with one kind of space, apostrophe and minus sign."""
    return (
        texts.str.strip_chars()
        .str.replace_all(SPACES, " ")
        .str.replace_all("[\u2019\u02bc]", "'")
        .str.replace_all("\u2212", "-", literal=True)
    )


def read_numbers(texts: polars.Series, decimal: str = ".") -> Numbers:
    """Read each text by itself, with the decimal mark ``"."`` or ``","``.

    Thousands may be separated by the other mark, a space or an apostrophe. A currency, a percent sign or a unit is
    taken off (``12%`` is 12), ``(5)`` is -5, and a limit such as ``<0.5`` is the number it names.

    Example:
        >>> import polars
        >>> read_numbers(polars.Series(["$1,500.50", "12%", "5 cm", "(7)", "<0.5", "A12"])).values.tolist()
        [1500.5, 12.0, 5.0, -7.0, 0.5, nan]
        >>> read_numbers(polars.Series(["1.500,50", "1,5"]), ",").values.tolist()
        [1500.5, 1.5]
    """
    import polars

    texts = tidied(texts)
    parts = texts.str.extract_groups(_NUMBERS[decimal]).struct.unnest()
    number = parts["number"].str.replace_all("[ ']" if decimal == "." else "[ '.]", "")
    number = number.str.replace_all(",", "" if decimal == "." else ".", literal=True)
    values = number.cast(polars.Float64, strict=False).to_numpy().copy()
    opened, closed = parts["open"].is_not_null().to_numpy(), parts["close"].is_not_null().to_numpy()
    signs = (parts["sign"].fill_null("") + parts["inner"].fill_null("")).to_numpy()
    values[opened != closed] = np.nan
    values = np.where((signs == "-") ^ opened, -values, values)
    values[np.isin(signs, ("+-", "-+", "--", "++"))] = np.nan
    endless = texts.str.to_lowercase().str.extract(r"^([+-]?)inf(?:inity)?$", 1)
    found = endless.is_not_null().to_numpy()
    values[found] = np.where((endless.fill_null("") == "-").to_numpy()[found], -np.inf, np.inf)
    units = parts["before"].fill_null("") + parts["after"].fill_null("").str.strip_chars_end(".")
    return Numbers(values, units.to_numpy(), parts["limit"].is_not_null().to_numpy())
