"""The figure of a look at weights: a histogram of each layer, and the inputs with the strongest paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.report.inspect.record import InspectRecord
from dashpot.report.style import BLUE, GREY, INK, QUIET, clean, figure_style, head, layout, number, save, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, LAYERS, INPUTS = 3, 11, 20
"""Panels beside each other; layers and inputs that are drawn at most."""


def weights_figure(
    record: InspectRecord | Mapping[str, Any], stem: str | Path, beside: InspectRecord | Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Write ``stem.png`` and ``stem.svg``.

    Args:
        record: of a model, or the content of its inspect.json.
        stem: the path without its ending.
        beside: of another model, whose layers of the same names are drawn behind.

    Raises:
        StorageError: a file could not be written.
    """
    return save(draw_weights(record, beside), stem)


def draw_weights(
    record: InspectRecord | Mapping[str, Any], beside: InspectRecord | Mapping[str, Any] | None = None
) -> Figure:
    """The figure of :func:`weights_figure`, not yet written."""
    from matplotlib.figure import Figure

    record = InspectRecord.of(record)
    other = None if beside is None else InspectRecord.of(beside)
    behind = {layer["name"]: layer for layer in other.layers} if other is not None else {}
    layers = [layer for layer in record.layers if layer.get("spread")]
    shown = sorted(layers, key=lambda layer: -math.prod(layer["shape"]))[:LAYERS]
    shown = [layer for layer in layers if layer in shown]
    panels = len(shown) + (record.paths is not None)
    count = max(1, math.ceil(panels / ROW))
    with figure_style():
        figure = Figure(figsize=(10.5, 1.0 + 2.9 * count), layout=layout())
        every = [axes for row in figure.subplots(count, ROW, squeeze=False) for axes in row]
        for axes, layer in zip(every, shown, strict=False):
            _histogram(axes, layer, behind.get(layer["name"]))
        if record.paths is not None:
            _inputs(every[len(shown)], record)
        for axes in every[panels:]:
            axes.set_axis_off()
        note = (
            "Bars: shares of the values that are not exactly zero, on a square-root scale; the exact zeros are named."
        )
        if other is not None:
            note += f" Grey: {other.name}."
        if len(layers) > len(shown):
            note += f" The largest {len(shown)} of {len(layers)} layers."
        head(figure, f"Weights of {record.name}", note)
    return figure


def _histogram(axes: Axes, layer: Mapping[str, Any], other: Mapping[str, Any] | None) -> None:
    for one, colour, fill in ((other, GREY, 0.35), (layer, BLUE, 0.75)):
        if one is None or not one.get("spread"):
            continue
        counts, edge = one["spread"]["counts"], one["spread"]["edge"]
        size, bins = math.prod(one["shape"]), len(counts)
        if not edge:
            continue
        step = 2 * edge / bins
        places = [-edge + (k + 0.5) * step for k in range(bins)]
        # By width, so that layers of other ranges compare.
        axes.bar(places, [count / size / step for count in counts], width=step, color=colour, alpha=fill, linewidth=0)
    zeros, near = layer["zeros"], layer["spread"]["near_zeros"]
    axes.set_yscale("function", functions=(_root, _square))
    axes.set_yticks([])
    axes.set_title(wrap(layer["name"], 36, 1), loc="left", fontsize=10.5, color=INK)
    words = f"{zeros:.1%} exactly 0, {near:.1%} nearly; kurtosis {number(layer['spread']['kurtosis'], 1)}"
    axes.set_xlabel(words, fontsize=8.5, color=QUIET)
    clean(axes)


def _root(values: Any) -> Any:
    return abs(values) ** 0.5


def _square(values: Any) -> Any:
    return values**2


def _inputs(axes: Axes, record: InspectRecord) -> None:
    pairs = sorted(zip(record.names, record.paths or (), strict=False), key=lambda pair: -pair[1])
    drawn = pairs[:INPUTS][::-1]
    axes.barh(range(len(drawn)), [share for _, share in drawn], color=BLUE, height=0.7)
    axes.set_yticks(range(len(drawn)))
    axes.set_yticklabels([wrap(name, 22, 1) for name, _ in drawn])
    axes.set_title("strongest inputs", loc="left", fontsize=10.5, color=INK)
    gone = sum(share == 0 for _, share in pairs)
    axes.set_xlabel(
        wrap(f"share of all paths, by |weights|; {gone} of {len(pairs)} reach no output", 46, 2),
        fontsize=8.5,
        color=QUIET,
    )
    clean(axes)
    axes.tick_params(axis="y", left=False, labelsize=7.5 if len(drawn) > 12 else 8.5)
