"""The curves of one training, as PNG and SVG."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dashpot.report.style import BLUE, GREY, INK, METRICS, ORANGE, clean, figure_style, head, layout, number, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_figure(
    history: Sequence[Mapping[str, float]], stem: str | Path, title: str, best_epoch: int | None = None
) -> tuple[Path, Path]:
    """Loss and metric over the epochs for training and validation, the gap between them shaded, the best epoch marked.

    Args:
        history: a row per epoch with ``epoch``, ``train_loss`` and, where there are, ``val_loss``, ``train_accuracy``
            or ``train_r2``, ``val_*``.
        stem: the path without its ending.
        title: above the figure.
        best_epoch: the epoch whose weights were kept; without it the lowest validation loss is marked, and called that.

    Returns:
        The paths of the PNG and the SVG.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_curves(history, title, best_epoch), stem)


def draw_curves(history: Sequence[Mapping[str, float]], title: str, best_epoch: int | None = None) -> Figure:
    """The figure of :func:`curves_figure`, not yet written."""
    from matplotlib.figure import Figure

    first: Mapping[str, float] = history[0] if history else {}
    panels = ["loss", *(name for name in ("accuracy", "r2") if f"train_{name}" in first)][:2]
    losses = {row["epoch"]: row["val_loss"] for row in history if math.isfinite(row.get("val_loss", math.nan))}
    mark, words = best_epoch, "best epoch,"
    if best_epoch is None and losses:
        mark, words = int(min(losses, key=lambda epoch: losses[epoch])), "lowest validation loss, epoch"
    with figure_style():
        figure = Figure(figsize=(10.5, 4.6), layout=layout())
        for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _curve(axes, history, name, mark, f"{words} {mark}")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9.5)
        head(figure, title)
    return figure


def _curve(axes: Axes, history: Sequence[Mapping[str, float]], name: str, mark: int | None, words: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    epochs = [row["epoch"] for row in history]
    lines = {
        part: [row[f"{part}_{name}"] for row in history]
        for part in ("train", "val")
        if history and f"{part}_{name}" in history[0]
    }
    marker = "o" if len(history) < 3 else None
    for part, colour, label in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
        if part in lines:
            axes.plot(epochs, lines[part], color=colour, linewidth=2, label=label, marker=marker, zorder=3)
    if len(lines) == 2:
        axes.fill_between(
            epochs, lines["train"], lines["val"], color=GREY, alpha=0.16, linewidth=0, label="gap", zorder=1
        )
    if mark is not None:
        axes.axvline(mark, color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label=words, zorder=2)
        for part, colour in (("train", BLUE), ("val", ORANGE)):
            at = [value for epoch, value in zip(epochs, lines.get(part, ()), strict=False) if epoch == mark]
            axes.plot(
                [mark] * len(at),
                at,
                "o",
                color=colour,
                markersize=8,
                markeredgecolor="white",
                markeredgewidth=1.2,
                zorder=4,
            )
    values = [value for line in lines.values() for value in line if math.isfinite(value)]
    caption = METRICS[name]
    if name == "loss" and values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        caption += ", log scale"
    elif name == "r2" and values and min(values) < -0.5 < 0 < statistics.median(values):
        # The first epochs may be far below 0 and would flatten all the rest.
        axes.set_ylim(-0.5, max(values) + 0.05 * (max(values) + 0.5))
        caption += f", cut off at {number(-0.5, 1)}"
    axes.set_title(caption, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel("epoch", fontsize=9.5, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    if len(history) == 1:
        axes.set_xticks(epochs)
    axes.grid(color="#E9EBEE", linewidth=0.8)
    clean(axes)
    axes.tick_params(axis="y", which="both", left=False)
