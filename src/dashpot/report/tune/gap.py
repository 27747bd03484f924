"""The panel of training against held-out scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dashpot.report.style import GREY, INK, clean
from dashpot.report.tune.axes import COLOURS, GRID, STATES, emphasis, plain_ticks, scale_y, score_limits
from dashpot.report.tune.stats import RankedTrial, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEEPEST = 50.0
"""Training scores below the lowest held-out score by more than this factor stand on the left edge: networks that
memorized their rows.
"""


def gap_panel(axes: Axes, pairs: Sequence[tuple[RankedTrial, float, float]], name: str, digits: int) -> None:
    """Draw it into ``axes``, the same scale both ways: a mark per candidate with its training and held-out score, and
    the line where both are equal.
    """
    low, high = score_limits(
        [score for _, _, score in pairs], [score + (c.se or 0.0) for c, _, score in pairs if c.roles or c.finalist]
    )
    floor = low / DEEPEST if low > 0 else -float("inf")
    low = min(low, max(floor, min(train for _, train, _ in pairs)))
    scale_y(axes, low, high)
    axes.set_xscale(axes.get_yscale())
    bottom, top = axes.get_ylim()
    axes.set_xlim(bottom, top)
    plain_ticks(axes, "x", 8)
    axes.plot(
        [bottom, top],
        [bottom, top],
        color=GREY,
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        zorder=2,
        label="equal scores: no gap",
    )

    def inside(value: float) -> float:
        return min(max(value, bottom), top)

    for state in ("failed", "pruned", "complete"):
        group = [(inside(train), inside(score)) for c, train, score in pairs if c.state == state and not c.roles]
        if group:
            x, y = zip(*group, strict=True)
            size = 26 if len(group) < 60 else 16
            look: dict[str, Any] = {"alpha": 0.85, "linewidths": 0.5, "edgecolors": "white", "clip_on": False}
            axes.scatter(x, y, s=size, color=COLOURS[state], zorder=3, label=f"{STATES[state]} ({len(group)})", **look)
    for c, train, score in sorted(
        (pair for pair in pairs if pair[0].roles), key=lambda pair: "chosen" in pair[0].roles
    ):
        colour, marker, _ = emphasis(c)
        x_at, y_at = inside(train), inside(score)
        axes.plot([x_at, x_at], [x_at, y_at], color=colour, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=4)
        if c.se is not None:
            axes.plot(
                [x_at, x_at],
                [inside(score - c.se), inside(score + c.se)],
                color=colour,
                linewidth=3.2,
                alpha=0.45,
                zorder=4.5,
            )
        text = f"{c.label}\n{shown(score, digits)}, gap {shown(score - train, digits, '+')}"
        mark: dict[str, Any] = {
            "markersize": 9,
            "markeredgecolor": "white",
            "markeredgewidth": 1.2,
            "linestyle": "none",
            "clip_on": False,
        }
        axes.plot(x_at, y_at, marker, color=colour, zorder=6, label=text, **mark)
    scale = ", log scale" if axes.get_yscale() == "log" else ""
    axes.set_title(f"{name} on held-out rows{scale}", loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(f"{name} on training rows{scale}", fontsize=9.5, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    clean(axes)
    axes.tick_params(axis="y", which="both", left=False)
