"""The figure of a regularization path, as PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.report.path.record import PathRecord
from dashpot.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    METRICS,
    ORANGE,
    QUIET,
    clean,
    figure_style,
    head,
    layout,
    save,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN, NAMED = 20, 8
"""Coefficient paths that are drawn, and how many of them carry a name: the largest."""


def path_figure(record: PathRecord | Mapping[str, Any], stem: str | Path) -> tuple[Path, Path]:
    """Score and features kept against the strength, the two choices marked; for one linear layer its coefficients
    below.

    Args:
        record: of a path, or the content of its path.json.
        stem: the path without its ending.

    Returns:
        The paths of the PNG and the SVG.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_path(record), stem)


def draw_path(record: PathRecord | Mapping[str, Any]) -> Figure:
    """The figure of :func:`path_figure`, not yet written."""
    from matplotlib.figure import Figure

    record = PathRecord.of(record)

    lines = coefficient_lines(record)
    heights = [1.25, 1.0, 1.6][: 3 if lines else 2]
    with figure_style():
        figure = Figure(figsize=(10.5, 0.9 + 1.95 * sum(heights)), layout=layout())
        panels = list(
            figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        )
        _score(panels[0], record)
        _kept(panels[1], record)
        if lines:
            _coefficients(panels[2], record, lines)
        for axes in panels:
            _frame(axes, record)
        _choices(panels[0], record)
        panels[-1].set_xlabel("strength, log scale: the penalty weakens to the right", fontsize=9.5, color=INK)
        technique = record.technique.partition(":")[0]
        title = f"{record.dataset}: the path of {technique}" if record.dataset else f"The path of {technique}"
        head(figure, title, _small_print(record, lines))
    return figure


def _frame(axes: Axes, record: PathRecord) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    strengths = record.strengths
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=_subs(strengths)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    margin = 1.15 if len(strengths) == 1 else (strengths[0] / strengths[-1]) ** 0.02
    axes.set_xlim(strengths[0] * margin, strengths[-1] / margin)  # strong on the left
    axes.grid(color="#E9EBEE", linewidth=0.8)
    clean(axes)
    axes.tick_params(axis="y", which="both", left=False)
    for i, colour, style in ((record.one_se, ORANGE, "-"), (record.best, INK, (0, (4, 3)))):
        axes.axvline(strengths[i], color=colour, linewidth=1.3, linestyle=style, zorder=2)


def _subs(strengths: Sequence[float]) -> tuple[float, ...]:
    """Which multiples of a power of ten carry a number: more of them on a short axis."""
    decades = math.log10(strengths[0] / strengths[-1])
    return (1.0,) if decades > 3.5 else (1.0, 3.0) if decades > 2.2 else (1.0, 2.0, 5.0)


def _choices(axes: Axes, record: PathRecord) -> None:
    """The names of the vertical lines, above the first panel, on a line of text each, so that they never meet."""
    strengths, best, one = record.strengths, record.best, record.one_se
    marks = (
        [(one, "one-SE choice", ORANGE), (best, "lowest loss", INK)]
        if best != one
        else [(one, "lowest loss and one-SE choice", ORANGE)]
    )
    for row, (i, text, colour) in enumerate(marks):
        kept = record.selected[i]
        right = i > 0.6 * (len(strengths) - 1)
        axes.annotate(
            f"{text}: strength {strengths[i]:.3g}, {kept:,} feature{'s' if kept != 1 else ''}",
            (strengths[i], 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-4 if right else 4, 3 + 13 * row),
            textcoords="offset points",
            ha="right" if right else "left",
            va="bottom",
            fontsize=9,
            color=colour,
        )


def _score(axes: Axes, record: PathRecord) -> None:
    x = np.array(record.strengths)
    mean, error = (_array(values) for values in (record.score, record.score_se))
    marker = "o" if len(x) < 3 else None
    axes.plot(x, mean, color=BLUE, linewidth=2, zorder=3, marker=marker)
    axes.fill_between(x, mean - error, mean + error, color=BLUE, alpha=0.18, linewidth=0, zorder=1)
    _title(axes, f"{METRICS.get(record.metric, record.metric)} on held-out rows", 32)
    low, high = np.nanmin(mean - error), np.nanmax(mean + error)
    if record.metric == "r2" and low < -0.5:
        axes.set_ylim(-0.5, max(high, 0.0) + 0.05)  # a few bad folds would flatten all the rest


def _kept(axes: Axes, record: PathRecord) -> None:
    """Features that are kept, and the exact zeros among the weights on an axis of their own."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    x = record.strengths
    marker = "o" if len(x) < 3 else None
    axes.plot(x, record.selected, color=GREEN, linewidth=2, zorder=3, marker=marker)
    axes.set_ylim(0, max(1, *record.selected) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(axis="y", labelcolor=GREEN)
    _title(axes, f"features kept, of {record.features:,}", 6, GREEN)
    other = axes.twinx()
    other.plot(x, record.zeros, color=GREY, linewidth=1.6, linestyle=(0, (1, 1.2)), zorder=3, marker=marker)
    other.set_title("exact zeros in weights", loc="right", fontsize=10.5, color=QUIET)
    low = min(record.zeros)
    span = max(1 - low, 1e-3)
    other.set_ylim(max(0.0, low - 0.08 * span) if low > 0 else 0.0, 1 + 0.08 * span)
    other.yaxis.set_major_locator(MaxNLocator(4))
    other.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3f}".rstrip("0").rstrip(".") + " %"))
    clean(other)
    other.tick_params(axis="y", right=False, labelcolor=QUIET)


def _coefficients(axes: Axes, record: PathRecord, lines: Sequence[tuple[str, np.ndarray]]) -> None:
    x = np.array(record.strengths)
    palette = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", "#222222", "#8C6BB1")
    ends = []
    for i, (name, values) in enumerate(lines):
        colour = palette[i] if i < NAMED else "#C4C8CC"
        axes.plot(
            x,
            values,
            color=colour,
            linewidth=1.7 if i < NAMED else 1.0,
            zorder=4 if i < NAMED else 2,
            marker="o" if len(x) < 3 else None,
        )
        if i < NAMED:
            ends.append((float(values[-1]), name, colour))
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    _title(axes, "coefficients", 6)
    low, high = axes.get_ylim()
    for y, (end, name, colour) in zip(apart([end for end, _, _ in ends], (high - low) * 0.075), ends, strict=True):
        axes.annotate(
            wrap(name, 18, 1),
            (1.0, end),
            xycoords=("axes fraction", "data"),
            xytext=(1.018, y),
            textcoords=axes.get_yaxis_transform(),
            ha="left",
            va="center",
            fontsize=8.5,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0},
            annotation_clip=False,
        )


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places for labels, at least ``gap`` apart, in the order of ``wanted`` and as near to it as pushing away from
    their middle allows.

    >>> apart([0.0, 0.5, 5.0], 1.0)
    [-0.25, 0.75, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[list[int], float]] = []  # members and the middle that they want
    for i in order:
        block, middle = [i], wanted[i]
        while blocks and middle - gap * len(block) / 2 < blocks[-1][1] + gap * len(blocks[-1][0]) / 2:
            block = blocks.pop()[0] + block
            middle = sum(wanted[k] for k in block) / len(block)
        blocks.append((block, middle))
    places = [0.0] * len(wanted)
    for block, middle in blocks:
        for k, i in enumerate(block):
            places[i] = middle + gap * (k - (len(block) - 1) / 2)
    return places


def coefficient_lines(record: PathRecord) -> list[tuple[str, np.ndarray]]:
    """The largest coefficient paths with their names, largest first; of two mirrored outputs (two classes) the second
    one's.
    """
    points = record.coefficients
    if not points:
        return []
    outputs = max((len(point["values"]) for point in points), default=0)
    shown = [1] if outputs == 2 and record.metric == "accuracy" else list(range(outputs))
    found: dict[tuple[int, int], np.ndarray] = {}
    for i, point in enumerate(points):
        for k in shown:
            for column, value in zip(point["columns"], point["values"][k], strict=True):
                if value:
                    found.setdefault((column, k), np.zeros(len(points)))[i] = value
    names, classes = record.feature_names, record.classes or [f"output {k}" for k in range(outputs)]
    largest = sorted(found, key=lambda key: (-float(np.abs(found[key]).max()), key))[:DRAWN]
    return [
        (str(names[column]) + (f", {classes[k]}" if len(shown) > 1 else ""), found[column, k]) for column, k in largest
    ]


def _title(axes: Axes, text: str, pad: int, colour: str = INK) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=colour, pad=pad)


def weighted(record: PathRecord) -> str:
    """What follows the number of rows: `` (weighted by exposure)``, or nothing where each counts once."""
    return f" (weighted by {record.weights})" if record.weights else ""


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])


def _small_print(record: PathRecord, lines: Sequence[Any]) -> str:
    text = (
        f"{record.rows:,} rows{weighted(record)}, {record.folds} folds. Band: one standard error over the folds. One-SE"
        " choice: the strongest penalty whose loss "
    )
    text += (
        "is within one standard error of the lowest, and whose score is less than one standard error below, fold by"
        " fold."
    )
    if lines:
        text += (
            f" Coefficients: the {len(lines)} largest"
            + (" (of the second class)." if record.metric == "accuracy" else ".")
            if len(lines) > 1
            else ""
        )
    return text
