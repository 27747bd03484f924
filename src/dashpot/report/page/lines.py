"""Lines over an axis: a race, curves of a training, scores as inputs get worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from dashpot.core.language import columns
from dashpot.report.page.svg import HEIGHT, WIDTH, Scale, area, axes, dot, drawing, fitted, path, text
from dashpot.report.path.figure import apart

ONE, LETTER = 16, 8.2
"""The height of a line of text, and the width of a letter."""


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        points: (x, y), in the order of x.
        kind: how it looks.
        label: at its end.
        key: what it says when it is pointed at.
        band: (x, low, high) behind it.
        ring: a point to mark.
    """

    points: Sequence[tuple[float, float]]
    kind: str = ""
    label: str = ""
    key: str = ""
    band: Sequence[tuple[float, float, float]] = ()
    ring: tuple[float, float] | None = None


def line_chart(
    series: Sequence[Series],
    title: str,
    x_name: str,
    y_name: str,
    *,
    limits: tuple[float, float] | None = None,
    log_x: bool | None = False,
    log_y: bool | None = None,
    falling: bool = False,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Markup:
    """All lines in one drawing, labels at their ends where they do not meet.

    Args:
        limits: of y; what lies beyond stays at the edge. All values by default.
        log_x, log_y: whether the axis is logarithmic; None: where the values spread far.
        falling: whether x falls to the right.
    """
    labels = [fitted(s.label, 30) for s in series if s.label]
    right = width - 12 - (LETTER * max(map(columns, labels)) + 10 if labels else 0)
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points] + [v for s in series for _, *both in s.band for v in both]
    x = Scale.around(xs, 64, right, log=log_x, room=0.01)
    x = replace(x, start=right, end=64) if falling else x
    x = replace(x, whole=all(value == round(value) for value in xs))
    y = Scale.around(limits or ys, height - 48, 30, log=log_y)
    parts = [axes(x, y, x_name, y_name, x_ticks=max(3, int((right - 64) / 75)))]
    for s in series:
        if s.band:
            parts += [
                area(
                    [(x(v), y(high)) for v, _, high in s.band],
                    [(x(v), y(low)) for v, low, _ in s.band],
                    f"band {s.kind}",
                )
            ]
    for s in series:
        places = [(x(v), y(w)) for v, w in s.points]
        if len(places) == 1:
            parts += [dot(*places[0], f"line {s.kind}", s.key, 3)]
        elif places:
            parts += [path(places, f"line {s.kind}", s.key)]
        if s.ring:
            parts += [dot(x(s.ring[0]), y(s.ring[1]), f"ring {s.kind}")]
    named = [s for s in series if s.label and s.points]
    for s, place in zip(named, apart([y(s.points[-1][1]) for s in named], ONE), strict=True):
        parts += [text(right + 8, place + 4, fitted(s.label, 30), f"end {s.kind}")]
    return drawing(parts, title, width, height)
