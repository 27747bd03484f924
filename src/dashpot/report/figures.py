"""Figures, as PNG and SVG, without any global plotting state."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.core.files import write_atomic
from dashpot.report.stats import Row, summarize
from dashpot.report.table import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"


def compare_figure(record: Mapping[str, Any], stem: str | Path) -> tuple[Path, Path]:
    """What each arm earned over the plain network, with intervals, and beside it the train-test gap and the exact zeros.

    Returns:
        The paths of the PNG and the SVG.
    """
    from matplotlib.figure import Figure

    rows = [row for row in summarize(record) if row.score is not None]
    metric = METRICS[record["metric"]]
    with_zeros = any(row.zeros for row in rows)
    height = 1.7 + 0.42 * len(rows)
    figure = Figure(figsize=(11.5, height), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(1, 3 if with_zeros else 2, width_ratios=[3, 1.3, 1.1] if with_zeros else [3, 1.3])
    main = figure.add_subplot(grid[0])
    names = [textwrap.shorten(row.name, 44, placeholder=" ...") for row in rows]
    positions = list(range(len(rows)))
    plain = next((row for row in rows if row.name == "plain"), None)

    main.axvline(0, color=INK, linewidth=1, zorder=1)
    for position, row in zip(positions, rows, strict=True):
        _difference(main, position, row)
    main.set_yticks(positions, names)
    main.set_xlabel(f"difference in test {metric} from the plain network" + (f" ({plain.score:.4f})" if plain and plain.score is not None else ""))
    _bars(figure.add_subplot(grid[1], sharey=main), positions, rows, [row.gap for row in rows], f"train - test {metric}", "{:+.3f}")
    if with_zeros:
        zeros = figure.add_subplot(grid[2], sharey=main)
        _bars(zeros, positions, rows, [None if row.zeros is None else 100 * row.zeros for row in rows], "exact zeros, % of weights", "{:.0f} %")
        zeros.set_xlim(0, 128)
        zeros.set_xticks([0, 50, 100])
    first_reference = next((i for i, row in enumerate(rows) if row.kind == "reference"), None)
    for axes in figure.axes:
        _clean(axes)
        if first_reference:
            axes.axhline(first_reference - 0.5, color="#CCCCCC", linewidth=0.8)
        if axes is not main:
            axes.tick_params(axis="y", left=False, labelleft=False)
    main.set_ylim(len(rows) - 0.5, -0.5)
    repeats = record["repeats"]
    spread = f"mean and 95 % interval over {repeats} splits" if repeats > 1 else "one split, so no intervals"
    figure.suptitle(f"{record['dataset']}: what each technique earned ({spread})", x=0.01, ha="left", fontsize=13, color=INK)
    return save(figure, stem)


def curves_figure(history: Sequence[Mapping[str, float]], stem: str | Path, title: str, best_epoch: int | None = None) -> tuple[Path, Path]:
    """Loss and metric over the epochs for training and validation, the gap between them shaded, the chosen epoch marked.

    Returns:
        The paths of the PNG and the SVG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.2), layout="constrained", facecolor="white")
    metric = "accuracy" if history and "train_accuracy" in history[0] else "r2"
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        epochs = [row["epoch"] for row in history]
        train = [row[f"train_{name}"] for row in history]
        marker = "o" if len(history) < 3 else None
        axes.plot(epochs, train, color=BLUE, linewidth=1.8, label="training", marker=marker)
        if history and f"val_{name}" in history[0]:
            val = [row[f"val_{name}"] for row in history]
            axes.plot(epochs, val, color=ORANGE, linewidth=1.8, label="validation", marker=marker)
            axes.fill_between(epochs, train, val, color=ORANGE, alpha=0.12, linewidth=0, label="gap")
        if best_epoch:
            axes.axvline(best_epoch, color=GREEN, linewidth=1.2, linestyle="--", label=f"best epoch, {best_epoch}")
        if name == "loss" and train and min(train) > 0 and max(train) / min(train) > 30:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(METRICS[name])
        axes.grid(True, color="#EEEEEE", linewidth=0.8)
        axes.legend(frameon=False, loc="best")
        _clean(axes)
    figure.suptitle(textwrap.shorten(title, 110, placeholder=" ..."), x=0.01, ha="left", fontsize=12, color=INK)
    return save(figure, stem)


def save(figure: Figure, stem: str | Path) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``, each as a whole; the same figure gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    paths = Path(f"{stem}.png"), Path(f"{stem}.svg")
    with matplotlib.rc_context({"svg.hashsalt": "dashpot", "svg.fonttype": "none", "font.family": ["DejaVu Sans"]}):
        for path, options in zip(paths, ({"dpi": 130, "metadata": {"Software": None}}, {"metadata": {"Date": None}}), strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], **options)  # type: ignore[arg-type]
            write_atomic(path, buffer.getvalue())
    return paths


def _colour(row: Row) -> str:
    return GREY if row.kind == "reference" else INK if row.name == "plain" else BLUE


def _difference(axes: Axes, position: int, row: Row) -> None:
    if row.difference is None:
        axes.plot(0, position, "D", color=INK, markersize=6, zorder=3)
        return
    mean, low, high = row.difference.mean, row.difference.low, row.difference.high
    if low is not None and high is not None:
        axes.plot([low, high], [position, position], color=_colour(row), linewidth=2.2, solid_capstyle="round", zorder=2)
    axes.plot(mean, position, "s" if row.kind == "reference" else "o", color=_colour(row), markersize=7, zorder=3)


def _bars(axes: Axes, positions: Sequence[int], rows: Sequence[Row], values: Sequence[float | None], label: str, form: str) -> None:
    lengths = [value or 0.0 for value in values]
    bars = axes.barh(positions, lengths, height=0.55, color=[_colour(row) for row in rows], alpha=0.85)
    axes.bar_label(bars, labels=["" if value is None else form.format(value) for value in values], padding=4, fontsize=8.5, color=INK)
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    room = 0.38 * ((high - low) or 1.0)
    axes.set_xlim(low - (room if low < 0 else 0), high + room)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(label)
    axes.locator_params(axis="x", nbins=3)


def _clean(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#BBBBBB")
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_fontsize(9.5)
    axes.yaxis.label.set_fontsize(9.5)
