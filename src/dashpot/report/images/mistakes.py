"""The most confident mistakes: the pictures, the truth, and what the model said."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from dashpot.report.images.cases import CASES, Judged
from dashpot.report.style import BLUE, INK, ORANGE, QUIET, figure_style, head, layout, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 6
LARGE = 64
"""From so many pixels on a picture is smoothed when drawn; smaller ones show their pixels."""


def draw_mistakes(judged: Judged, title: str) -> Figure:
    """The 24 mistakes that the model was surest of, each with its truth and what was predicted how surely; where
    nothing is wrong, the images it was least sure of. Of values, the largest errors.
    """
    from matplotlib.figure import Figure

    wrong = judged.wrong
    shown, note = wrong[:CASES], ""
    if judged.probabilities is None:
        note = f"The {len(shown)} largest errors of {len(judged.truth):,} test images."
    elif len(wrong):
        note = (
            f"{len(wrong):,} of {len(judged.truth):,} test images are wrong; "
            + (f"the {CASES} of which the model was surest." if len(wrong) > CASES else "the surest come first.")
            if len(wrong) > 1
            else f"1 of {len(judged.truth):,} test images is wrong."
        ) + " A picture whose truth looks wrong may be labelled wrong."
    else:
        shown = np.argsort(judged.sureness, kind="stable")[:CASES]
        note = f"No test image is wrong. These are the {len(shown)} of which the model was least sure."
    columns = min(COLUMNS, max(3, len(shown)))
    lines = max(1, math.ceil(len(shown) / columns))
    with figure_style():
        figure = Figure(figsize=(1.75 * columns, 0.8 + 2.2 * lines), layout=layout())
        places = figure.subplots(lines, columns, squeeze=False).flat
        for axes in [*places][len(shown) :]:
            axes.axis("off")
        for axes, i in zip(figure.axes, shown, strict=False):
            _case(axes, judged, int(i))
        head(figure, title)
        # The note is as wide as the figure, which may be narrow.
        figure.supxlabel("\n".join(textwrap.wrap(note, 26 * columns)), x=0.012, ha="left", fontsize=8.5, color=QUIET)
    return figure


def _case(axes: Axes, judged: Judged, i: int) -> None:
    picture = as_shown(judged.pixels[i])
    small = max(picture.shape[:2]) < LARGE
    axes.imshow(
        picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if small else "antialiased", aspect="equal"
    )
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():  # where a white picture ends on white paper
        spine.set(color="#D5D8DC", linewidth=0.6)
    if judged.probabilities is None:
        said, truth = (
            ", ".join(number(float(v)) for v in np.atleast_1d(values[i])) for values in (judged.predicted, judged.truth)
        )
        colour, sure = ORANGE, ""
    else:
        said, truth = judged.classes[judged.predicted[i]], judged.classes[judged.truth[i]]
        colour = BLUE if said == truth else ORANGE
        sure = f"  {judged.sureness[i]:.2f}"
    axes.text(0, 1.17, f"is {_short(truth)}", transform=axes.transAxes, fontsize=9, color=INK)
    axes.text(0, 1.035, f"said {_short(said)}{sure}", transform=axes.transAxes, fontsize=9, color=colour)


def as_shown(picture: np.ndarray) -> np.ndarray:
    """[channels, height, width] as [height, width] or [height, width, 3] in [0, 1]; of other numbers of channels the
    first is shown.
    """
    values = picture.astype(np.float64) / (255.0 if picture.dtype == np.uint8 else 1.0)
    return np.asarray(np.clip(values.transpose(1, 2, 0) if len(values) == 3 else values[0], 0.0, 1.0))


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
