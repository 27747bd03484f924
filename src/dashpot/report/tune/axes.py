"""Shared by the figures of a search: colours, limits, scales, keys."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dashpot.report.style import BLUE, GREEN, INK, MINUS, ORANGE, QUIET, clean, figure_style, head, layout
from dashpot.report.tune.stats import RankedTrial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEY = 0.27
"""The height of a key below the panels, in inches."""
GRID, LIGHT, SKY = "#E9EBEE", "#AEB4BA", "#56B4E9"
PURPLE = "#8C6BB1"
COLOURS = {"complete": SKY, "pruned": LIGHT, "failed": PURPLE}
STATES = {"complete": "finished", "pruned": "pruned", "failed": "failed"}


def emphasis(candidate: RankedTrial) -> tuple[str, str, float]:
    """Colour, marker and line width of a candidate with a role; the chosen one's first, since one candidate may have
    several.
    """
    looks = {"chosen": (ORANGE, "o", 2.6), "baseline": (INK, "D", 1.8), "best": (BLUE, "s", 2.0)}
    return next((looks[role] for role in looks if role in candidate.roles), (GREEN, "^", 1.8))


def score_limits(scores: Sequence[float], needed: Sequence[float]) -> tuple[float, float]:
    """Limits that show all that is needed and nine tenths of the rest: a few scores that are far off must not flatten
    all others.

    >>> score_limits([0.5] * 50 + [1000.0], [0.4, 0.6])
    (0.4, 0.6)
    """
    ordered = sorted(scores)
    usual = ordered[min(len(ordered) - 1, math.ceil(0.9 * len(ordered)) - 1)]
    low = min([ordered[0], *needed])
    return low, max([usual, *needed])


def log_scaled(low: float, high: float, ratio: float = 4.0) -> bool:
    """Whether positive numbers spread so far that a linear axis would squeeze the small ones."""
    return low > 0 and high / low >= ratio


def scale_y(axes: Axes, low: float, high: float) -> None:
    """A linear or log axis with some room and plain numbers."""
    if log_scaled(low, high):
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.1
        axes.set_ylim(low - room, high + room)
    plain_ticks(axes, "y")


def plain_ticks(axes: Axes, which: str, most: int = 7) -> None:
    """Round numbers without powers of ten, between 3 and ``most`` of them, on a linear or log axis with
    its limits set.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if axis.get_scale() == "log":
        axis.set_major_locator(FixedLocator(log_ticks(low, high, most)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(most - 1, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two positive ones, as many as fit.

    >>> log_ticks(0.2, 3.0, 5)
    [0.2, 0.5, 1.0, 2.0]
    >>> log_ticks(0.132, 0.164, 5)
    [0.14, 0.16]
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{e}") for e in exponents for step in steps]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= most:
            break
    if len(ticks) > 1:
        return ticks[:: math.ceil(len(ticks) / most)]
    step = 10.0 ** (math.floor(math.log10(high)) - 1)
    ends = (math.ceil(low / step), math.floor(high / step))  # two digits, between the ends
    return [float(f"{end * step:.2g}") for end in sorted({*ends}) if low <= end * step <= high] or ticks


def number_text(value: float) -> str:
    """A tick's number: thousands set apart, powers of ten only where zeros would be many, a true minus sign.

    >>> number_text(20000.0), number_text(0.001), number_text(1e-05), number_text(2.5e7)
    ('20,000', '0.001', '1e−5', '2.5e7')
    """
    size = abs(value)
    if value and not 0.999e-3 <= size < 1e6:
        power = math.floor(math.log10(size) + 1e-9)
        text = f"{value / 10.0**power:.3g}e{power}"
    else:
        text = f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
    return text.replace("-", MINUS)


def finish(figure: Figure, axes: Axes, title: str, note: str, beside: bool = False) -> None:
    """The title on top, the small print at the foot, and the key of ``axes`` above that or beside the panels."""
    head(figure, title)
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(note, int(14.5 * width))
    if lines:
        figure.supxlabel("\n".join(lines), x=0.012, ha="left", fontsize=8.5, color=QUIET)
    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if not found:
        return
    shared: dict[str, Any] = {"handles": list(found.values()), "labels": list(found), "frameon": False, "fontsize": 9}
    if beside:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.015, 1.0), borderaxespad=0.0, labelspacing=1.1, **shared
        )
    else:
        # The layout gives the small print its room but knows no key above it, so the panels are kept off by hand.
        room = KEY / height
        figure.set_layout_engine(layout())
        engine = figure.get_layout_engine()
        if engine is not None:
            # Matplotlib types the base class of layout engines.
            engine.set(rect=(0, room, 1, 1 - room))  # type: ignore[call-arg]  # its stubs know fewer arguments
        legend = figure.legend(
            loc="lower left",
            bbox_to_anchor=(0.008, (0.15 * len(lines) + 0.05) / height),
            ncols=len(found),
            borderaxespad=0.0,
            **shared,
        )
        legend.set_in_layout(False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def empty(title: str, text: str) -> Figure:
    """A figure that says why there is nothing in it."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(10.5, 2.0), layout=layout())
        axes = figure.add_subplot()
        axes.text(0.0, 0.5, text, transform=axes.transAxes, va="center", fontsize=10.5, color=QUIET)
        clean(axes)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks([])
        head(figure, title)
    return figure
