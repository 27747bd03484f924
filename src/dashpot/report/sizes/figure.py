"""The figure of scores against sizes, as PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.report.sizes.record import MEASURES, SizesRecord
from dashpot.report.style import BLUE, INK, METRICS, ORANGE, clean, figure_style, head, layout, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def sizes_figure(record: SizesRecord | Mapping[str, Any], stem: str | Path) -> tuple[Path, Path]:
    """The score against each thing that a network costs, the two choices marked, as ``stem.png`` and ``stem.svg``.

    Args:
        record: of a search over sizes, or the content of its sizes.json.
        stem: the path without its ending.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_sizes(record), stem)


def draw_sizes(record: SizesRecord | Mapping[str, Any]) -> Figure:
    """The figure of :func:`sizes_figure`, not yet written."""
    from matplotlib.figure import Figure

    record = SizesRecord.of(record)
    with figure_style():
        figure = Figure(figsize=(10.5, 6.4), layout=layout())
        for axes, (field, said) in zip(figure.subplots(2, 2, sharey=True).flat, MEASURES.items(), strict=True):
            _front(axes, record, field, said)
        title = "Score against size"
        head(figure, f"{record.dataset}: {title.lower()}" if record.dataset else title, _small_print(record))
    return figure


def _front(axes: Axes, record: SizesRecord, field: str, said: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    x = np.array(record.cost(field))
    mean, error = (
        np.array([math.nan if v is None else v for v in values]) for values in (record.score, record.score_se)
    )
    axes.plot(x, mean, color=BLUE, linewidth=1.6, marker="o", markersize=4, zorder=3)
    axes.fill_between(x, mean - error, mean + error, color=BLUE, alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    marks = [(record.one_se, ORANGE, "smallest within one standard error"), (record.best, INK, "lowest loss")]
    for i, colour, name in marks[: 2 if record.best != record.one_se else 1]:
        axes.plot(x[i], mean[i], "o", markersize=9, fillstyle="none", color=colour, zorder=4, label=name)
    axes.set_xlabel(said, fontsize=9.5, color=INK)
    axes.set_title(
        f"{METRICS.get(record.metric, record.metric)} on held-out rows", loc="left", fontsize=10.5, color=INK
    )
    axes.grid(color="#E9EBEE", linewidth=0.8)
    if field == "parameters":
        axes.legend(loc="lower right", fontsize=8.5, frameon=False)
    clean(axes)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _small_print(record: SizesRecord) -> str:
    weighted = f" (weighted by {record.weights})" if record.weights else ""
    return (
        f"{record.rows:,} rows{weighted}, {record.folds} folds. Each point is a network that became so small while it"
        " trained. Band: one standard error over the folds. Times are medians on one thread."
    )
