"""Drawings as SVG text: scales, axes and marks. Colours are classes, so that light and dark are the page's matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dashpot.core.language import columns, say
from dashpot.report.tune.axes import log_scaled, log_ticks, number_text

WIDTH, HEIGHT = 760, 360
"""Of a wide drawing, in its own units; the page scales it."""


@dataclass(frozen=True)
class Scale:
    """From values to places.

    Attributes:
        low, high: values at the ends.
        start, end: their places.
        log: whether equal ratios are equally far apart.
        at: the values that have a number; round ones by default.
        whole: only whole numbers have one, such as of epochs.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    at: tuple[float, ...] = ()
    whole: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; beyond the ends it stays at the end.

        >>> Scale(0.0, 10.0, 100.0, 200.0)(2.5), Scale(1.0, 100.0, 0.0, 2.0, log=True)(10.0)
        (125.0, 1.0)
        """
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, max(value, self.low)))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values between the ends, or those that are named."""
        if self.at:
            return list(self.at)
        if self.log:
            return log_ticks(self.low, self.high, most)
        from matplotlib.ticker import MaxNLocator

        locator = MaxNLocator(max(most - 1, 1), steps=[1, 2, 2.5, 5, 10], integer=self.whole)
        found = locator.tick_values(self.low, self.high)
        room = 1e-9 * (self.high - self.low)
        return [float(v) + 0.0 for v in found if self.low - room <= v <= self.high + room]

    @classmethod
    def around(
        cls, values: Iterable[float], start: float, end: float, *, log: bool | None = None, room: float = 0.05
    ) -> Scale:
        """One that shows all the values with some room; on a log axis where they spread by more than a factor of four,
        or as ``log`` says.
        """
        found = [float(v) for v in values]
        low, high = min(found, default=0.0), max(found, default=1.0)
        if (log_scaled(low, high) if log is None else log) and low > 0:
            ratio = (high / low) ** room if high > low else 2.0
            return cls(low / ratio, high * ratio, start, end, True)
        more = room * (high - low) or 0.05 * abs(high) or 0.1
        return cls(low - more, high + more, start, end)


def n(value: float) -> str:
    """A place, short.

    >>> n(12.345), n(3.0)
    ('12.3', '3')
    """
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0" if abs(value) < 0.05 else "-0")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> Markup:
    """Words, escaped."""
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(n(x), n(y), kind, anchor, words)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return Markup('<path class="{}" d="M{} {}L{} {}"/>').format(kind, n(x1), n(y1), n(x2), n(y2))


def path(points: Iterable[tuple[float, float]], kind: str, key: str = "") -> Markup:
    """A line through places; one with a key can be pointed at."""
    places = "L".join(f"{n(x)} {n(y)}" for x, y in points)
    return Markup('<path class="{}"{} d="M{}"/>').format(kind, _key(key), places)


def area(above: Sequence[tuple[float, float]], below: Sequence[tuple[float, float]], kind: str) -> Markup:
    """What lies between two lines."""
    places = "L".join(f"{n(x)} {n(y)}" for x, y in [*above, *reversed(below)])
    return Markup('<path class="{}" d="M{}Z"/>').format(kind, places)


def dot(x: float, y: float, kind: str, key: str = "", radius: float = 4) -> Markup:
    """A round mark."""
    return Markup('<circle class="{}"{} cx="{}" cy="{}" r="{}"/>').format(kind, _key(key), n(x), n(y), n(radius))


def box(x: float, y: float, width: float, height: float, kind: str, key: str = "", opacity: float = 1.0) -> Markup:
    """A rectangle."""
    shade = Markup(' fill-opacity="{}"').format(f"{opacity:.2f}") if opacity < 1 else ""
    return Markup('<rect class="{}"{}{} x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, _key(key), shade, n(x), n(y), n(max(width, 0.0)), n(max(height, 0.0))
    )


def axes(x: Scale, y: Scale, x_name: str, y_name: str, *, x_ticks: int = 8, y_ticks: int = 6) -> Markup:
    """Grid lines, numbers and the names of both axes."""
    parts, left = [], min(x.start, x.end)
    for value in y.ticks(y_ticks):
        parts += [line(x.start, y(value), x.end, y(value), "grid")]
        parts += [text(left - 8, y(value) + 4, number_text(value), "tick", "end")]
    for value in x.ticks(x_ticks):
        parts += [text(x(value), y.start + 18, number_text(value), "tick", "middle")]
    parts += [line(x.start, y.start, x.end, y.start, "axis")]
    parts += [
        text((x.start + x.end) / 2, y.start + 38, x_name + (say(", log scale") if x.log else ""), "name", "middle")
    ]
    parts += [text(4, y.end - 12, y_name + (say(", log scale") if y.log else ""), "name")]
    return joined(parts)


def drawing(
    parts: Iterable[Markup], title: str, width: float = WIDTH, height: float = HEIGHT, grows: bool = True
) -> Markup:
    """The whole drawing with its name for those who hear it. One whose marks have keys can be walked by arrow keys.

    Args:
        grows: whether it is as wide as the page; a small one that is not keeps its letters as small as all others.
    """
    inside = joined(parts)
    walk = Markup(' tabindex="0" data-walk') if "data-k=" in inside else ""
    size = "" if grows else Markup(' style="max-width:{0}px;min-width:{0}px"').format(n(width))
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"{}{}>{}</svg>').format(
        n(width), n(height), title, walk, size, inside
    )


def joined(parts: Iterable[Markup]) -> Markup:
    """One after the other."""
    return Markup("").join(parts)


def fitted(words: str, letters: int) -> str:
    """At most so many letters, the middle left out; an ideograph is as wide as two.

    >>> fitted("a long name of a column", 11), fitted("很长很长的列的名字", 11)
    ('a lon…olumn', '很长…名字')
    """
    if columns(words) <= letters:
        return words
    half = (letters - 1) // 2
    return f"{_start(words, letters - 1 - half)}…{_start(words[::-1], half)[::-1]}"


def _start(words: str, letters: int) -> str:
    while columns(words) > letters:
        words = words[:-1]
    return words


def _key(key: str) -> Markup:
    return Markup(' data-k="{}"').format(key) if key else Markup("")


__all__ = [
    *("HEIGHT", "WIDTH", "Markup", "Scale", "area", "axes", "box", "dot", "drawing", "escape", "fitted", "joined"),
    *("line", "n", "path", "text"),
]
