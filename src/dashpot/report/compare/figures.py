"""The figure of a comparison, as PNG and SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashpot.evaluation.statistics import Interval
from dashpot.report.compare.record import CompareRecord
from dashpot.report.compare.stats import Given, Row, summarize
from dashpot.report.style import (
    BLUE,
    FAINT,
    GREY,
    INK,
    METRICS,
    MINUS,
    ORANGE,
    QUIET,
    clean,
    figure_style,
    head,
    layout,
    number,
    save,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def compare_figure(record: Given, stem: str | Path) -> tuple[Path, Path]:
    """The difference of each arm from the baseline (the network without techniques), with intervals, and beside it the
    score, the train-test gap and the exact zeros.

    Args:
        record: of a comparison, or the content of its compare.json.
        stem: the path without its ending.

    Returns:
        The paths of the PNG and the SVG.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_compare(record), stem)


def draw_compare(record: Given) -> Figure:
    """The figure of :func:`compare_figure`, not yet written."""
    from matplotlib.figure import Figure

    record = CompareRecord.of(record)
    rows = summarize(record)
    metric = METRICS.get(record.metric, record.metric)
    baseline = next(row for row in rows if row.baseline)
    references = next((i for i, row in enumerate(rows) if row.kind == "reference"), len(rows))
    # A line of its own, with their name, sets the reference models apart.
    apart = 0 < references < len(rows)
    positions = [i + (apart and i >= references) for i in range(len(rows))]
    names = [wrap(row.label, 34, 3) for row in rows]
    pitch = 0.24 + 0.16 * max(name.count("\n") + 1 for name in names)
    zeros = any(row.zeros for row in rows)
    with figure_style():
        figure = Figure(figsize=(11.5, 1.75 + pitch * (positions[-1] + 1)), layout=layout())
        widths = [3.2, 0.75, 1.35, 1.2][: 4 if zeros else 3]
        grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
        panels = [figure.add_subplot(grid[i]) for i in range(len(widths))]
        for axes in panels:
            axes.set_ylim(positions[-1] + 0.55, -0.55)
            for position in positions[::2]:
                axes.axhspan(position - 0.5, position + 0.5, color=FAINT, linewidth=0, zorder=0)
            clean(axes)
            axes.tick_params(axis="y", left=False, labelleft=axes is panels[0], pad=6)
        ticks = list(zip(positions, names, strict=True)) + ([(references, "reference models")] if apart else [])
        panels[0].set_yticks([at for at, _ in ticks], [name for _, name in ticks])
        if apart:
            panels[0].get_yticklabels()[-1].set(color=QUIET, style="italic")
        clipped = _main(panels[0], positions, rows, metric, baseline)
        _scores(panels[1], positions, rows, metric)
        _bars(
            panels[2],
            positions,
            rows,
            [(row.gap, number(row.gap or 0.0, 3, "+")) for row in rows],
            f"gap: train {MINUS} test",
        )
        if zeros:
            _bars(
                panels[3],
                positions,
                rows,
                [(row.zeros, f"{100 * (row.zeros or 0.0):.1f} %") for row in rows],
                "exact zeros in weights",
            )
            panels[3].set_xlim(0, 1.4)
            panels[3].set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        head(
            figure,
            f"{record.dataset}: contribution of each technique to test {metric}, {_count(record.repeats)}",
            _small_print(rows, clipped),
        )
    return figure


def _main(axes: Axes, positions: Sequence[int], rows: Sequence[Row], metric: str, baseline: Row) -> bool:
    """Differences from the baseline, or the scores themselves if it failed; returns whether an interval is cut
    off.
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    values = [_value(row, baseline.score is not None) for row in rows]
    low, high = _limits([value for value in values if value is not None])
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]) if any(values) else NullLocator())
    axes.grid(axis="x", color="#E3E5E8", linewidth=0.8)
    if baseline.score is None:
        axes.set_title(f"test {metric}: {baseline.name} failed, so no differences", loc="left", fontsize=10, color=INK)
    else:
        axes.set_title(f"test {metric} minus that of {baseline.name}", loc="left", fontsize=10, color=INK)
        axes.axvline(0, color=INK, linewidth=1, zorder=2)
    clipped = False
    for position, row, value in zip(positions, rows, values, strict=True):
        if value is None:
            text = (
                f"failed on {_count(row.planned, 'all ')}"
                if row.score is None
                else f"no split in common with {baseline.name}"
            )
            left = low + high > 0  # the wider side of the zero line
            shade = {"facecolor": FAINT if position % 2 == 0 else "white", "edgecolor": "none", "pad": 2}
            place, side = (0.985, "right") if left else (0.015, "left")
            axes.text(
                place,
                position,
                text,
                transform=axes.get_yaxis_transform(),
                ha=side,
                va="center_baseline",
                fontsize=9,
                color=ORANGE,
                bbox=shade,
                zorder=3,
            )
            continue
        if value.low is not None and value.high is not None:
            ends = max(value.low, low), min(value.high, high)
            axes.plot(ends, [position, position], color=_colour(row), linewidth=2.2, solid_capstyle="butt", zorder=3)
            for end, beyond, marker in ((low, value.low < low, "<"), (high, value.high > high, ">")):
                if beyond:
                    clipped = True
                    axes.plot(end, position, marker, color=_colour(row), markersize=7, clip_on=False, zorder=4)
        marker, size = ("D", 7.0) if row.baseline else ("s", 7.5) if row.kind == "reference" else ("o", 8.0)
        axes.plot(
            value.mean,
            position,
            marker,
            color=_colour(row),
            markersize=size,
            markeredgecolor="white",
            markeredgewidth=1,
            zorder=5,
        )
    return clipped


def _value(row: Row, differences: bool) -> Interval | None:
    if row.score is None:
        return None
    if not differences:
        return Interval(row.score, None, None)
    return Interval(0.0, None, None) if row.baseline else row.difference


def _limits(values: Sequence[Interval]) -> tuple[float, float]:
    """An axis that shows zero, every mean, and intervals up to a few times the usual length: one wild interval must not
    hide the rest.
    """
    means = [0.0, *(value.mean for value in values)]
    low, high = min(means), max(means)
    arms = [(value.low, value.high) for value in values if value.low is not None and value.high is not None]
    if arms:
        middle = statistics.median((b - a) / 2 for a, b in arms)
        reach = max(2.5 * middle, (high - low) / 2)
        low = min(low, max(min(a for a, _ in arms), low - reach))
        high = max(high, min(max(b for _, b in arms), high + reach))
    margin = 0.06 * (high - low) or max(0.05 * abs(high), 1e-3)
    return low - margin, high + margin


def _scores(axes: Axes, positions: Sequence[int], rows: Sequence[Row], metric: str) -> None:
    axes.set_title(f"test {metric}" if len(metric) < 12 else "test", loc="center", fontsize=10, color=INK)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for position, row in zip(positions, rows, strict=True):
        if row.score is not None:
            axes.text(
                0.5,
                position,
                number(row.score),
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center_baseline",
                fontsize=9,
                color=INK,
            )


def _bars(
    axes: Axes, positions: Sequence[int], rows: Sequence[Row], values: Sequence[tuple[float | None, str]], title: str
) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    lengths = [value or 0.0 for value, _ in values]
    bars = axes.barh(positions, lengths, height=0.5, color=[_colour(row) for row in rows], zorder=3)
    axes.bar_label(
        bars, labels=["" if value is None else text for value, text in values], padding=4, fontsize=9, color=INK
    )
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    room = 0.45 * ((high - low) or 1.0)
    axes.set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 or low == 0 else 0))
    axes.axvline(0, color=INK, linewidth=1, zorder=4)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]) if any(lengths) else NullLocator())
    axes.set_title(title, loc="left", fontsize=10, color=INK)


def _colour(row: Row) -> str:
    return GREY if row.kind == "reference" else INK if row.baseline else BLUE


def _count(splits: int, many: str = "") -> str:
    return "1 split" if splits == 1 else f"{many}{splits} splits"


def _small_print(rows: Sequence[Row], clipped: bool) -> str:
    differences = [row.difference for row in rows if row.difference is not None]
    if not differences:
        return ""
    if all(difference.low is None for difference in differences):
        return (
            "One split, so no intervals." if max(row.planned for row in rows) == 1 else "Too few splits for intervals."
        )
    text = (
        "Marks: means over the splits. Lines: 95 % intervals of the paired difference, by the corrected resampled t"
        " test."
    )
    return text + (" An arrow: the interval goes on; the table has it in full." if clipped else "")
