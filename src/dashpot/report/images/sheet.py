"""The contact sheet: images, and what an augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dashpot.report.images.mistakes import LARGE, as_shown
from dashpot.report.style import BLUE, INK, QUIET, figure_style, head, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.05
"""Inches of a picture."""


def draw_sheet(
    lines: Sequence[tuple[str, Sequence[np.ndarray]]],
    title: str,
    note: str = "",
    *,
    columns: Sequence[str] = (),
    marked: bool = True,
) -> Figure:
    """A line of pictures for each name, at one scale.

    Args:
        lines: names, and as many pictures [channels, height, width] each, uint8 or in [0, 1]; sizes may differ.
        title, note: above and below.
        columns: what stands above the pictures of the first line.
        marked: the first picture of each line is the original, and has a frame.
    """
    from matplotlib.figure import Figure

    many = max(len(pictures) for _, pictures in lines)
    wide = max((len(name) for name, _ in lines), default=0)
    with figure_style():
        size = (CELL * many + 0.085 * wide + 0.4, CELL * len(lines) + 1.0)
        figure = Figure(figsize=size, layout=layout())
        places = figure.subplots(len(lines), many, squeeze=False)
        for row, (name, pictures) in zip(places, lines, strict=True):
            for axes in row[len(pictures) :]:
                axes.axis("off")
            for k, picture in enumerate(pictures):
                _picture(row[k], picture, marked and k == 0)
            row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK, labelpad=8)
        for axes, text in zip(places[0], columns, strict=False):
            axes.set_title(text, fontsize=9, color=QUIET)
        head(figure, title, note)
    return figure


def _picture(axes: Axes, picture: np.ndarray, marked: bool) -> None:
    shown = as_shown(picture)
    small = max(shown.shape[:2]) < LARGE
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if small else "antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=BLUE if marked else "#D5D8DC", linewidth=1.8 if marked else 0.6)
