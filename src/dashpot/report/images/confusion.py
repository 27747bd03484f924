"""The confusion matrix: what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dashpot.report.style import BLUE, INK, ORANGE, QUIET, figure_style, head, layout, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERED, NAMED = 20, 60
"""Classes up to which every cell has its number, and every row and column its name."""
LISTED = 10
"""The most frequent confusions that are named in words, at most."""


def draw_confusion(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """A square per pair of classes, darker where more of a true class (row) was taken for another (column): right in
    blue, wrong in orange. The share of each class that was right is beside its row, the commonest confusions in words.

    Args:
        counts: [true class, predicted class], rows of data or their weight.
        classes: names, in the same order.
        title: above the figure.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    n = len(classes)
    of_class = counts.sum(axis=1)
    share = counts / np.maximum(of_class, 1e-300)[:, None]
    right = np.eye(n, dtype=bool)
    side = min(8.2, max(3.2, 1.1 + 0.62 * n))
    with figure_style():
        figure = Figure(figsize=(side + 4.4, side + 1.15), layout=layout())
        axes, words = figure.subplots(1, 2, width_ratios=[side + 0.9, 3.1])
        for colour, part in ((BLUE, right), (ORANGE, ~right)):
            colours = LinearSegmentedColormap.from_list("share", ["#FFFFFF", colour])
            # A few mistakes among many right ones must be seen: the orange is stronger where it is little.
            shown = np.where(part, share if colour == BLUE else np.sqrt(share), np.nan)
            axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        if n <= NUMBERED:
            _numbers(axes, counts, share)
        _names(axes, classes, share)
        if n <= NAMED:  # thin lines between the squares
            axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
            axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
            axes.grid(which="minor", color="#ECEEF0", linewidth=0.8 if n <= NUMBERED else 0.4)
        axes.tick_params(which="both", length=0)
        for spine in axes.spines.values():
            spine.set_color("#BBBBBB")
        axes.set_xlabel("predicted", fontsize=10, color=INK)
        axes.set_ylabel("true class", fontsize=10, color=INK)
        _in_words(words, counts, classes, 0.27 / side)
        total = max(float(counts.sum()), 1e-300)
        note = (
            f"Of {_count(total)} test images {np.trace(counts) / total:.1%} are right. Colour: the share of the true"
            " class, right in blue, wrong in orange."
            + (" On the right: how much of each class is right." if n <= NAMED else "")
        )
        # Small print of 8.5 points has about 14 letters to an inch.
        head(figure, title, note, letters=int(14 * (side + 4.4)))
    return figure


def _numbers(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    n = len(counts)
    size = 11 if n <= 6 else 10 if n <= 12 else 7.5
    for i, j in zip(*np.nonzero(counts), strict=True):
        dark = share[i, j] > 0.55 if i == j else share[i, j] ** 0.5 > 0.75
        axes.text(j, i, _count(counts[i, j]), ha="center", va="center", fontsize=size, color="white" if dark else INK)


def _names(axes: Axes, classes: Sequence[str], share: np.ndarray) -> None:
    """Classes on both axes, as far as they can be read, and on the right how much of each is right."""
    n = len(classes)
    every = range(n) if n <= NAMED else range(0, n, 5)
    size = 9.5 if n <= 12 else 8.5 if n <= NUMBERED else 6 if n <= 40 else 5
    names = [_short(classes[i]) for i in every]
    long = max(map(len, names)) > (4 if n <= NUMBERED else 2)
    axes.set_xticks(list(every), names, fontsize=size, color=INK, rotation=90 if long and n > 3 else 0)
    axes.set_yticks(list(every), names, fontsize=size, color=INK)
    if n <= NAMED:
        for i in range(n):
            axes.text(n - 0.5 + 0.02 * n, i, f"{share[i, i]:.0%}", va="center", fontsize=min(size, 9), color=BLUE)


def _in_words(axes: Axes, counts: np.ndarray, classes: Sequence[str], step: float) -> None:
    """The commonest confusions, ``step`` of the height apart."""
    axes.axis("off")
    wrong = counts - np.diag(np.diag(counts))
    order = [k for k in np.argsort(-wrong, axis=None, kind="stable")[:LISTED] if wrong.flat[k] > 0]
    axes.text(
        0,
        1,
        "Most often taken for another" if order else "No image was taken for another",
        transform=axes.transAxes,
        va="top",
        fontsize=10,
        fontweight="bold",
        color=INK,
    )
    for line, k in enumerate(order):
        i, j = divmod(int(k), len(classes))
        place = 1 - (line + 2.2) * step
        axes.text(0.1, place, _count(wrong[i, j]), transform=axes.transAxes, ha="right", fontsize=9, color=ORANGE)
        text = f"{_short(classes[i], 16)} \N{RIGHTWARDS ARROW} {_short(classes[j], 16)}"
        axes.text(0.15, place, text, transform=axes.transAxes, fontsize=9, color=INK if line < 3 else QUIET)


def _short(name: str, most: int = 14) -> str:
    return wrap(name, most, 1) if " " in name[:most] else name if len(name) <= most else name[: most - 1] + "…"


def _count(value: float) -> str:
    """Whole numbers as such; sums of fractional weights with a digit."""
    return f"{value:,.0f}" if abs(value - round(value)) < 1e-9 else f"{value:,.1f}"
