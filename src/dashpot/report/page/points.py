"""Marks in a plane: scores against a setting, held-out against training scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from dashpot.core.language import say
from dashpot.report.page.svg import Scale, axes, dot, drawing, fitted, line, path, text
from dashpot.report.tune.axes import number_text

EQUAL = "zero"
"""How the line of equal values looks."""
STEPS = 30
"""Points of that line where it may be bent."""
FEW, ROOM = 6, 30.0
"""So many values have numbers of their own, so far apart."""


@dataclass(frozen=True)
class Point:
    """A mark.

    Attributes:
        x: a number, or the name of a value that is none.
        y: its height.
        kind: how it looks.
        key: what it says when it is pointed at.
    """

    x: float | str
    y: float
    kind: str = ""
    key: str = ""


def point_chart(
    points: Sequence[Point],
    title: str,
    x_name: str,
    y_name: str,
    *,
    limits: tuple[float, float] | None = None,
    log_x: bool | None = None,
    equal: bool = False,
    same: bool = False,
    level: bool = False,
    width: float = 370,
    height: float = 260,
) -> Markup:
    """All marks; names that are no numbers stand beside each other along x.

    Args:
        limits: of y; marks beyond stay at the edge.
        log_x: whether x is logarithmic; None: where the values spread far.
        equal: draw the line of equal values.
        same: both axes have the same limits.
        level: draw the line of zero.
    """
    numbers = [p.x for p in points if not isinstance(p.x, str)]
    if len(numbers) == len(points):
        every = [*numbers, *(p.y for p in points)]
        y = Scale.around(
            limits or (every if same else [p.y for p in points]), height - 48, 30, log=False if same or level else None
        )
        x = replace(y, start=64, end=width - 12) if same else Scale.around(numbers, 64, width - 12, log=log_x)
        x = replace(x, at=_few(numbers, x))
        parts = [axes(x, y, x_name, y_name, x_ticks=max(3, int(width / 90)), y_ticks=5)]
        if equal:
            parts += diagonal(x, y)
        if level and y.low < 0 < y.high:
            parts += [line(x.start, y(0.0), x.end, y(0.0), "zero")]
        parts += [dot(x(float(p.x)), y(p.y), f"dot {p.kind}", p.key, 3.5) for p in points]
        return drawing(parts, title, width, height)
    y = Scale.around(limits or [p.y for p in points], height - 48, 30)
    return drawing(_named(points, y, x_name, y_name, width), title, width, height)


def _few(values: Sequence[float], x: Scale) -> tuple[float, ...]:
    """The values themselves where they are few whole numbers with room for each, such as depths of 2 and 3."""
    whole = sorted({float(value) for value in values})
    if len(whole) > FEW or any(value != round(value) for value in whole):
        return ()
    places = [x(value) for value in whole]
    return tuple(whole) if all(b - a > ROOM for a, b in itertools.pairwise(places)) else ()


def diagonal(x: Scale, y: Scale) -> list[Markup]:
    """The line of equal values, which is none where only one of the axes is logarithmic; nothing where it is not in
    sight.
    """
    low, high = max(x.low, y.low), min(x.high, y.high)
    if low >= high:
        return []
    values = np.geomspace(low, high, STEPS) if x.log or y.log else np.array([low, high])
    return [path([(x(value), y(value)) for value in values.tolist()], EQUAL)]


def _named(points: Sequence[Point], y: Scale, x_name: str, y_name: str, width: float) -> list[Markup]:
    names = sorted({str(p.x) for p in points})
    room = (width - 76) / len(names)
    parts = [line(64, y(v), width - 12, y(v), "grid") for v in y.ticks(5)]
    parts += [text(56, y(v) + 4, number_text(v), "tick", "end") for v in y.ticks(5)]
    parts += [text(4, y.end - 12, y_name + (say(", log scale") if y.log else ""), "name")]
    parts += [text((64 + width - 12) / 2, y.start + 38, x_name, "name", "middle")]
    for i, name in enumerate(names):
        middle, own = 64 + room * (i + 0.5), [p for p in points if str(p.x) == name]
        parts += [text(middle, y.start + 18, fitted(name, max(3, int(room / 7))), "tick", "middle")]
        for k, p in enumerate(own):
            # Side by side, in a fixed order that fills the room evenly.
            place = middle + (k * 0.618034 % 1 - 0.5) * 0.7 * room
            parts += [dot(place, y(p.y), f"dot {p.kind}", p.key, 3.5)]
    return parts
