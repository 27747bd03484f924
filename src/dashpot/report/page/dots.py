"""Marks with intervals, a row for each name: contributions, differences, shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dashpot.core.language import columns
from dashpot.report.page.svg import WIDTH, Scale, box, dot, drawing, fitted, line, text
from dashpot.report.tune.axes import number_text

LINE, LETTER = 30, 6.8
SHARE = 0.56
"""Of the width that names take at most."""


@dataclass(frozen=True)
class Mark:
    """A value with its interval.

    Attributes:
        name: the row that it stands in.
        value, low, high: the ends may be None.
        kind: how it looks.
        key: what it says when it is pointed at.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: str = ""
    key: str = ""


def dot_chart(marks: Sequence[Mark], title: str, x_name: str, *, zero: bool = True, width: float = WIDTH) -> Markup:
    """A row for each name, in the order of their first marks; marks of one row stand below each other.

    Args:
        zero: whether zero is shown as a line.
    """
    names = list(dict.fromkeys(mark.name for mark in marks))
    left, letters = _room(names, width)
    height = LINE * len(names) + 62
    ends = [v for m in marks for v in (m.value, m.low, m.high, 0.0 if zero else m.value) if v is not None]
    x = Scale.around(ends, left, width - 16, log=False)
    parts = []
    for value in x.ticks(7):
        parts += [line(x(value), 14, x(value), height - 46, "grid")]
        parts += [text(x(value), height - 28, number_text(value), "tick", "middle")]
    if zero:
        parts += [line(x(0.0), 8, x(0.0), height - 46, "zero")]
    parts += [text((left + width - 16) / 2, height - 8, x_name, "name", "middle")]
    for i, name in enumerate(names):
        middle, own = 14 + LINE * (i + 0.5), [mark for mark in marks if mark.name == name]
        parts += [text(left - 10, middle + 4, fitted(name, letters), "row", "end")]
        for k, mark in enumerate(own):
            y = middle + (k - (len(own) - 1) / 2) * 10
            if mark.low is not None and mark.high is not None:
                parts += [line(x(mark.low), y, x(mark.high), y, f"line {mark.kind}")]
            parts += [dot(x(mark.value), y, f"dot {mark.kind}", mark.key, 4.5)]
    return drawing(parts, title, width, height)


def bar_chart(shares: Sequence[tuple[str, float, str]], title: str, x_name: str, *, width: float = WIDTH) -> Markup:
    """Horizontal bars from zero: (name, value, the value in words)."""
    left, letters = _room([name for name, *_ in shares], width)
    height = 24 * len(shares) + 44
    x = Scale(0.0, max((value for _, value, _ in shares), default=1.0) or 1.0, left, width - 90)
    parts = [line(left, 8, left, height - 32, "axis"), text(left, height - 8, x_name, "name")]
    for i, (name, value, words) in enumerate(shares):
        top = 10 + 24 * i
        parts += [text(left - 10, top + 13, fitted(name, letters), "row", "end")]
        parts += [box(left, top + 2, x(value) - left, 14, "bar"), text(x(value) + 6, top + 13, words, "tick")]
    return drawing(parts, title, width, height)


def _room(names: Sequence[str], width: float) -> tuple[float, int]:
    """Where the marks begin, and how many letters of a name fit before it."""
    letters = min(34, int((SHARE * width - 20) / LETTER))
    return 20 + LETTER * max((columns(fitted(name, letters)) for name in names), default=0), letters
