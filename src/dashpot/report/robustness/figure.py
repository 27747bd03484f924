"""The figure of robustness: a panel for each corruption, a line for each model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.report.robustness.record import RobustnessRecord
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
    number,
    save,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 3
"""Panels beside each other."""
LINES = ((GREY, (0, (4, 2))), (BLUE, "solid"), (ORANGE, "solid"), (GREEN, "solid"))


def robustness_figure(record: RobustnessRecord | Mapping[str, Any], stem: str | Path) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``.

    Args:
        record: or the content of its robustness.json.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_robustness(record), stem)


def draw_robustness(record: RobustnessRecord | Mapping[str, Any]) -> Figure:
    """The figure of :func:`robustness_figure`, not yet written."""
    from matplotlib.figure import Figure

    record = RobustnessRecord.of(record)
    names = list(record.units)
    count = max(1, math.ceil(len(names) / ROW))
    with figure_style():
        figure = Figure(figsize=(10.5, 1.1 + 2.5 * count), layout=layout())
        panels = figure.subplots(count, ROW, squeeze=False, sharey=True)
        every = [axes for row in panels for axes in row]
        for axes, name in zip(every, names, strict=False):
            _panel(axes, record, name)
        for axes in every[len(names) :]:
            axes.set_axis_off()
        for row in panels:
            row[0].set_ylabel(METRICS.get(record.metric, record.metric), fontsize=9.5, color=INK)
        _limits(every[0], record)
        handles, labels = every[0].get_legend_handles_labels()
        if len(record.clean) > 1:
            figure.legend(handles, labels, loc="outside lower right", ncols=len(handles), frameon=False, fontsize=9.5)
        note = f"{record.rows:,} rows; strength 0 is the inputs as they are."
        if record.draws > 1:
            note += f" Bands: 95 % intervals over {record.draws} draws of the corruption."
        head(figure, f"{record.dataset}: how the score falls as inputs get worse", note)
    return figure


def _limits(axes: Axes, record: RobustnessRecord) -> None:
    """Of a score that may fall without end what is below 0 is cut off."""
    values = [cell.mean for cell in record.cells if math.isfinite(cell.mean)] + list(record.clean.values())
    if record.metric == "r2" and min(values) < -0.5:
        axes.set_ylim(-0.5, max(values) + 0.08 * (max(values) + 0.5))


def _panel(axes: Axes, record: RobustnessRecord, corruption: str) -> None:
    first = record.curve(next(iter(record.clean)), corruption)
    for k, model in enumerate(record.clean):
        cells = record.curve(model, corruption)
        # One model has the colour of what is measured; of several the first is what the others are held against.
        colour, style = LINES[1] if len(record.clean) == 1 else LINES[k % len(LINES)]
        x = [0, *(cell.strength for cell in cells)]
        y = [record.clean[model], *(cell.mean for cell in cells)]
        axes.plot(x, y, color=colour, linestyle=style, linewidth=2, marker="o", markersize=4, label=wrap(model, 40, 1))
        bands = [cell for cell in cells if cell.low is not None and cell.high is not None]
        if bands:
            low, high = ([getattr(cell, side) for cell in bands] for side in ("low", "high"))
            axes.fill_between([c.strength for c in bands], low, high, color=colour, alpha=0.18, linewidth=0)
    axes.set_title(corruption, loc="left", fontsize=10.5, color=INK)
    axes.set_xticks([0, *(cell.strength for cell in first)])
    axes.set_xticklabels(["0", *(number(cell.amount, 2).rstrip("0").rstrip(".") for cell in first)])
    axes.set_xlabel(wrap(record.units[corruption], 46, 2), fontsize=8.5, color=QUIET)
    axes.grid(color="#E9EBEE", linewidth=0.8)
    clean(axes)
    axes.tick_params(axis="y", which="both", left=False, labelleft=True)
