"""The figures of contributions and of which settings mattered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dashpot.evaluation.statistics import Interval
from dashpot.report.compare.figures import _limits
from dashpot.report.style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, QUIET, clean, figure_style, layout, wrap
from dashpot.report.tune.axes import PURPLE, SKY, empty, finish, plain_ticks
from dashpot.report.tune.record import Report, as_record
from dashpot.report.tune.stats import (
    contributions,
    importances,
    interactions,
    judge,
    percent,
    pretty,
    sureness,
    unexplained,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 15
"""Bars of importance, and pairs of techniques, that are drawn: the largest."""


def draw_contributions(record: Report) -> Figure:
    """What each technique gained in the proper score, left out of the chosen recipe and alone on the baseline, with
    intervals and in words.
    """
    record = as_record(record)
    from matplotlib.figure import Figure

    rows, pairs = contributions(record), interactions(record)[:MOST]
    name = pretty(record.proper)
    title = f"{record.dataset}: the contribution of each technique"
    gains = [gain for row in rows for gain in (row.left_out, row.alone) if gain is not None] + [
        gain for _, gain in pairs
    ]
    if not gains:
        return empty(title, "No contribution was measured.")
    # A line of its own, with their name, sets the pairs apart.
    after = len(rows) + bool(rows and pairs)
    positions = [*range(len(rows)), *(after + i for i in range(len(pairs)))]
    labels = [wrap(text, 30, 2) or " " for text in (*(row.technique for row in rows), *(pair for pair, _ in pairs))]
    words = [row.verdict for row in rows] + [_PAIR.get(judge(gain), "no interval") for _, gain in pairs]
    verdicts = [judge(row.left_out if row.left_out is not None else row.alone) for row in rows] + [
        judge(gain) for _, gain in pairs
    ]
    with figure_style():
        figure = Figure(figsize=(10.5, 1.9 + 0.46 * (positions[-1] + 1)), layout=layout())
        axes = figure.add_subplot()
        axes.set_ylim(positions[-1] + 0.6, -0.6)
        axes.set_xlim(*_limits(gains))
        for position in positions[::2]:
            axes.axhspan(position - 0.5, position + 0.5, color=FAINT, linewidth=0, zorder=0)
        axes.axvline(0, color=INK, linewidth=1, zorder=2)
        cut = False
        for position, row in zip(positions, rows, strict=False):
            both = 0.17 if row.left_out is not None and row.alone is not None else 0.0
            for gain, slot, shift in ((row.left_out, "left_out", -both), (row.alone, "alone", both)):
                if gain is not None:
                    _folds(axes, row.folds.get(slot, ()), position + shift, _LOOKS[slot][0])
                    cut |= _interval(axes, gain, position + shift, *_LOOKS[slot])
        for position, (_, gain) in zip(positions[len(rows) :], pairs, strict=True):
            cut |= _interval(axes, gain, position, *_LOOKS["pair"])
        ticks = [*zip(positions, labels, strict=True), *([(len(rows), "pairs")] if after > len(rows) else [])]
        axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
        if after > len(rows):
            axes.get_yticklabels()[-1].set(color=QUIET, style="italic")
        for position, text, verdict in zip(positions, words, verdicts, strict=True):
            colour = {"helps": GREEN, "hurts": ORANGE}.get(verdict, QUIET)
            axes.text(
                1.02,
                position,
                text,
                transform=axes.get_yaxis_transform(),
                va="center_baseline",
                fontsize=9.5,
                color=colour,
                fontweight="bold" if verdict in ("helps", "hurts") else "normal",
            )
        plain_ticks(axes, "x")
        axes.grid(axis="x", color="#E3E5E8", linewidth=0.8)
        axes.set_title(f"{name} saved by the technique: right of the line it helps", loc="left", fontsize=10, color=INK)
        clean(axes)
        axes.tick_params(axis="y", left=False, pad=6, labelsize=9.5)
        note = f"Lines: 95 % intervals; {sureness(record)}."
        note += " Small marks: single folds." if any(len(own) > 1 for row in rows for own in row.folds.values()) else ""
        note += " Pairs: what both gain together beyond the sum of their gains." if pairs else ""
        finish(
            figure, axes, title, note + (" An arrow: the interval goes on; the table has it in full." if cut else "")
        )
    return figure


_LOOKS = {
    "left_out": (BLUE, "o", "left out of the chosen recipe"),
    "alone": (GREY, "s", "alone, added to the baseline"),
    "pair": (PURPLE, "D", "pair"),
}
_PAIR = {"helps": "more than their sum", "hurts": "less than their sum", "unclear": "no clear effect"}


def _interval(axes: Axes, gain: Interval, position: float, colour: str, marker: str, label: str) -> bool:
    """Draw a gain; returns whether its interval is cut off."""
    low, high = axes.get_xlim()
    cut = False
    if gain.low is not None and gain.high is not None:
        axes.plot(
            [max(gain.low, low), min(gain.high, high)],
            [position] * 2,
            color=colour,
            linewidth=2.2,
            solid_capstyle="butt",
            zorder=3,
        )
        for end, beyond, arrow in ((low, gain.low < low, "<"), (high, gain.high > high, ">")):
            if beyond:
                cut = True
                axes.plot(end, position, arrow, color=colour, markersize=7, clip_on=False, zorder=4)
    size = 8.0 if marker == "o" else 6.8
    look: dict[str, Any] = {"color": colour, "markersize": size, "markeredgecolor": "white", "markeredgewidth": 1}
    axes.plot(gain.mean, position, marker, label=label, linestyle="none", zorder=5, **look)
    return cut


def _folds(axes: Axes, values: Sequence[float], position: float, colour: str) -> None:
    low, high = axes.get_xlim()
    inside = [value for value in values if low <= value <= high]
    axes.plot(
        inside, [position] * len(inside), "|", color=colour, markersize=7, markeredgewidth=1.1, alpha=0.55, zorder=2.5
    )


def draw_importance(record: Report) -> Figure:
    """Bars: the share of the variance of the score over the search that each setting accounts for."""
    record = as_record(record)
    from matplotlib.figure import Figure

    found = importances(record)
    title = f"{record.dataset}: which settings the score depended on"
    if not found:
        return empty(title, "No importance was computed.")
    rows, rest = found[:MOST], found[MOST:]
    labels = [wrap(name, 34, 1) or " " for name, _ in rows]
    with figure_style():
        figure = Figure(figsize=(10.5, 1.35 + 0.3 * len(rows)), layout=layout())
        axes = figure.add_subplot()
        bars = axes.barh(
            range(len(rows)),
            [share for _, share in rows],
            height=0.62,
            color=[BLUE] + [SKY] * (len(rows) - 1),
            zorder=3,
        )
        axes.bar_label(bars, labels=[percent(share) for _, share in rows], padding=4, fontsize=9, color=INK)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        low, high = min(0.0, *(share for _, share in rows)), max(share for _, share in rows)
        axes.set_xlim(low * 1.2, high * 1.15 if high > 0 else 1.0)
        axes.set_xticks([])
        axes.axvline(0, color=INK, linewidth=1, zorder=4)
        axes.set_title(
            f"share of the variance of the {pretty(record.proper)} over the search",
            loc="left",
            fontsize=10,
            color=INK,
        )
        clean(axes)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", left=False)
        others = f" {len(rest)} further settings: {percent(sum(share for _, share in rest))} together." if rest else ""
        finish(
            figure,
            axes,
            title,
            "Over all candidates, good and bad; what mattered among the best may differ."
            + others
            + unexplained(record),
        )
    return figure
