"""The figure of a network before and after: what each layer holds and takes, and the time of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.report.shrink.record import UNITS, ShrinkRecord
from dashpot.report.style import BLUE, GREY, INK, QUIET, clean, figure_style, head, layout, save, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYERS = 18
"""Layers that are drawn at most, the largest ones."""


def shrink_figure(record: ShrinkRecord | Mapping[str, Any], stem: str | Path) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``.

    Args:
        record: with its layers measured, or the content of its shrunk.json.
        stem: the path without its ending.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_shrunk(record), stem)


def draw_shrunk(record: ShrinkRecord | Mapping[str, Any]) -> Figure:
    """The figure of :func:`shrink_figure`, not yet written."""
    from matplotlib.figure import Figure

    if not isinstance(record, ShrinkRecord):
        record = ShrinkRecord.from_dict(record)
    layers = sorted(record.by_layer, key=lambda layer: -layer["bytes"][0])[:LAYERS]
    layers = [layer for layer in record.by_layer if layer in layers]
    names = [wrap(layer["name"] or layer["kind"], 30, 1) for layer in layers]
    with figure_style():
        figure = Figure(figsize=(10.5, max(3.6, 1.7 + 0.34 * len(layers))), layout=layout())
        whole, held, taken = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
        totals: list[tuple[str, float, float]] = [
            (said, record.before[name], record.after[name]) for name, said in UNITS.items()
        ]
        totals += [(f"time, batch {batch}", pair[0], pair[1]) for batch, pair in record.latency.items()]
        shares = [(1.0, new / max(old, 1e-12)) for _, old, new in totals]
        words = [f"{_short(old)} > {_short(new)}" for _, old, new in totals[:3]]
        words += [f"{old:.3g} > {new:.3g} ms" for _, old, new in totals[3:]]
        _bars(whole, [said for said, *_ in totals], shares, words)
        whole.set_title("Of the whole network", loc="left", fontsize=10.5, color=INK)
        whole.set_xlabel("share of the network before", fontsize=8.5, color=QUIET)
        _bars(held, names, [tuple(layer["parameters"]) for layer in layers])
        held.set_title("Parameters of each layer", loc="left", fontsize=10.5, color=INK)
        _bars(taken, names, [tuple(layer["ms_64"]) for layer in layers])
        taken.set_title("Milliseconds at batch 64", loc="left", fontsize=10.5, color=INK)
        taken.set_yticklabels([])
        note = "Grey: before; blue: after. Times are medians on one thread."
        for part, scores in record.scores.items():
            if part == "test":
                told = [f"{name.replace('_', ' ')} {old:.4g} > {new:.4g}" for name, (old, new) in scores.items()]
                note += f" Test rows: {', '.join(told)}."
        if not record.scores and record.how == "cut":
            note += " Accuracy was not measured."
        if len(layers) < len(record.by_layer):
            note += f" The largest {len(layers)} of {len(record.by_layer)} layers."
        asked = f", {record.asked} asked for" if record.asked else ""
        head(figure, f"{Path(record.run).name} before and after it became smaller{asked}", note)
    return figure


def _bars(axes: Axes, names: Sequence[str], pairs: Sequence[tuple[float, ...]], words: Sequence[str] = ()) -> None:
    for k, (old, new) in enumerate(pairs):
        axes.barh(k, old, height=0.72, color=GREY, alpha=0.45, linewidth=0)
        axes.barh(k, new, height=0.4, color=BLUE, linewidth=0)
        if words:
            axes.annotate(
                words[k],
                (1.0, k),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK,
                annotation_clip=False,
            )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlim(left=0)
    if words:
        axes.set_xlim(0, 1.75)
        axes.set_xticks([0, 0.5, 1])
    axes.locator_params(axis="x", nbins=4) if not words else None
    clean(axes)


def _short(value: float) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.0f}"
