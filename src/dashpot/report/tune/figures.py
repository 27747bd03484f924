"""Figures of a search, as PNG and SVG: the race, the train-test gap, and all of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashpot.report.path.figure import apart
from dashpot.report.style import INK, clean, figure_style, layout, save
from dashpot.report.tune.axes import COLOURS, GRID, LIGHT, emphasis, empty, finish, scale_y, score_limits
from dashpot.report.tune.effects import draw_contributions, draw_importance
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import RankedTrial, by_role, digits_of, pretty, ranked, shown
from dashpot.report.tune.strengths import draw_strengths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def tune_figures(record: Report, folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """All figures that the record has something for, by name, each as ``folder/name.png`` and ``folder/name.svg``.

    Args:
        record: of a search.
        folder: where to; it must exist.

    Raises:
        StorageError: a file could not be written.
        DataError: the record lacks a key that no report can do without.
    """
    return {name: save(figure, Path(folder) / name) for name, figure in draw_all(record).items()}


def draw_all(record: Report) -> dict[str, Figure]:
    """The figures of :func:`tune_figures`, not yet written."""
    record = as_record(record)
    optional = {"contributions": draw_contributions, "importance": draw_importance}
    drawn = {"race": draw_race, "strengths": draw_strengths, "gap": draw_gap} | {
        name: draw for name, draw in optional.items() if getattr(record, name)
    }
    return {name: draw(record) for name, draw in drawn.items()}


def draw_race(record: Report) -> Figure:
    """The score on held-out rows against the epoch, a line per candidate: those pruned pale, the baseline
    and the chosen one with their names.
    """
    record = as_record(record)
    from matplotlib.figure import Figure

    candidates = [candidate for candidate in ranked(record) if candidate.history]
    name = pretty(record.proper)
    title = f"{record.dataset}: the race of {_count(len(candidates))}"
    if not candidates:
        return empty(title, "No candidate has a score after any epoch.")
    with figure_style():
        figure = Figure(figsize=(10.5, 5.8), layout=layout())
        axes = figure.add_subplot()
        low, high = score_limits(
            [score for c in candidates for _, score in c.history],
            [
                score
                for c in candidates
                if c.roles or c.finalist
                for score in (c.history[-1][1], min(s for _, s in c.history))
            ],
        )
        scale_y(axes, low, high)
        last = max(c.history[-1][0] for c in candidates)
        # Epochs before any line comes down into the picture would be empty room.
        _epochs(axes, min(epoch for c in candidates for epoch, score in c.history if score <= high), last)
        _crowd(axes, candidates)
        marked = [candidate for candidate in candidates if candidate.roles]
        for candidate in sorted(marked, key=lambda c: "chosen" in c.roles):
            colour, _, width = emphasis(candidate)
            _line(axes, candidate, "white", width + 2, 1.0, 5, "")
            _line(axes, candidate, colour, width, 1.0, 6, "", end=True)
        _names(axes, marked, digits_of(candidates))
        axes.set_title(
            f"{name} on held-out rows" + (", log scale" if axes.get_yscale() == "log" else ""),
            loc="left",
            fontsize=10.5,
            color=INK,
        )
        axes.set_xlabel("epoch" + (", log scale" if axes.get_xscale() == "log" else ""), fontsize=9.5, color=INK)
        axes.grid(color=GRID, linewidth=0.8)
        clean(axes)
        axes.tick_params(axis="y", which="both", left=False)
        cut = max(score for c in candidates for _, score in c.history) > high
        finish(figure, axes, title, _race_note(record, candidates, cut))
    return figure


def _crowd(axes: Axes, candidates: Sequence[RankedTrial]) -> None:
    """The lines of those without a name, paler the more there are."""
    groups = [
        [c for c in candidates if not c.roles and c.state != "complete"],
        [c for c in candidates if not c.roles and c.state == "complete"],
    ]
    for group, colour, width, label in zip(
        groups, (LIGHT, COLOURS["complete"]), (0.7, 1.1), ("pruned or failed", "finished"), strict=True
    ):
        crowd = min(1.0, max(0.3, 25 / max(len(group), 1)))
        for i, candidate in enumerate(group):
            _line(
                axes,
                candidate,
                colour,
                width,
                0.35 + 0.45 * crowd,
                2 if colour == LIGHT else 3,
                f"{label} ({len(group)})" if i == 0 else "",
            )


def _race_note(record: TuneRecord, candidates: Sequence[RankedTrial], cut: bool) -> str:
    """What the picture of the race needs in words.

    Args:
        cut: whether scores lie above it.
    """
    note = "Less is better. Numbers: the lowest points of the lines, which have rings."
    if cut:
        note += " The highest scores are cut off."
    if any(row.ended for row in record.candidates):
        note += " A finished line that ends before the others had only become worse."
    if any("in all" in _score(candidate, digits_of(candidates)) for candidate in candidates if candidate.roles):
        folds = record.race.get("folds", record.folds)
        every = max((row.folds or 0 for row in record.candidates), default=0)
        note += (
            f" Lines are means over the {folds} fold{'s' * (folds > 1)} of the race; in all: over {every}"
            f" fold{'s' * (every > 1)} and all seeds."
        )
    chosen = by_role(candidates, "chosen")
    return note + (f" Chosen: {_short(chosen.recipe, 240)}" if chosen is not None and chosen.recipe else "")


def _line(
    axes: Axes,
    candidate: RankedTrial,
    colour: str,
    width: float,
    alpha: float,
    order: int,
    label: str,
    end: bool = False,
) -> None:
    x, y = zip(*candidate.history, strict=True)
    # One point makes no line.
    marker = "o" if len(x) == 1 and not end else None
    style = (
        (0, (5, 2)) if "baseline" in candidate.roles and "chosen" not in candidate.roles and colour != "white" else "-"
    )
    options: dict[str, Any] = {"linestyle": style, "marker": marker, "markersize": 2 + width, "solid_capstyle": "round"}
    axes.plot(x, y, color=colour, linewidth=width, alpha=alpha, zorder=order, label=label or None, **options)
    if end:
        epoch, score = min(candidate.history, key=lambda point: (point[1], point[0]))
        axes.plot(
            epoch,
            score,
            "o",
            color="white",
            markersize=5.5,
            markeredgecolor=colour,
            markeredgewidth=1.4,
            zorder=order + 1,
        )
        axes.plot(
            x[-1],
            y[-1],
            "o",
            color=colour,
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=1.2,
            zorder=order + 1,
            clip_on=False,
        )


def _epochs(axes: Axes, first: float, last: float) -> None:
    """A log axis where the search stopped candidates early, which is where most of them are."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    if first > 0 and last / first >= 12:
        axes.set_xscale("log")
        axes.set_xlim(first / (last / first) ** 0.01, last * (last / first) ** 0.02)
        powers = [
            m * 10**e for e in range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1) for m in (1, 2, 5)
        ]
        axes.xaxis.set_major_locator(FixedLocator([p for p in powers if first <= p <= last]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.03 * (last - first) or 0.5
        axes.set_xlim(first - room, last + room)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))


def _names(axes: Axes, marked: Sequence[RankedTrial], digits: int) -> None:
    """The names of the emphasised lines to the right of the axes, at the height of their ends as far as they do not
    meet.
    """
    to_axes = axes.transScale + axes.transLimits
    ends = [min(max(float(to_axes.transform((c.history[-1][0], c.history[-1][1]))[1]), 0.0), 1.0) for c in marked]
    places = apart(ends, 0.115)
    shift = max(0.0, 0.03 - min(places, default=0.03)) - max(0.0, max(places, default=0.0) - 0.97)
    for candidate, end, place in zip(marked, ends, places, strict=True):
        colour, _, _ = emphasis(candidate)
        beyond = end in (0.0, 1.0)
        # The line and the name apart, so that only the name is text with a place of its own.
        axes.annotate(
            "",
            (candidate.history[-1][0], end if beyond else candidate.history[-1][1]),
            xycoords=axes.get_xaxis_transform() if beyond else "data",
            xytext=(1.03, place + shift),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 4},
            annotation_clip=False,
        )
        axes.text(
            1.034,
            place + shift,
            f"{candidate.label}\n{_score(candidate, digits)}",
            transform=axes.transAxes,
            va="center",
            fontsize=9,
            fontweight="bold" if "chosen" in candidate.roles else "normal",
            color=colour,
        )


def _score(candidate: RankedTrial, digits: int) -> str:
    """The lowest point of the line, and the score by which the choice was made where that is another: that of all folds
    and seeds.
    """
    ring = shown(min(score for _, score in candidate.history), digits)
    whole = shown(candidate.score, digits)
    return ring if whole in ("", ring) else f"{ring}, in all {whole}"


def draw_gap(record: Report) -> Figure:
    """The score on held-out rows against that on training rows, a mark per candidate: the height above the line of
    equal scores is the gap.
    """
    record = as_record(record)
    from matplotlib.figure import Figure

    from dashpot.report.tune.gap import gap_panel

    pairs = [(c, c.train_score, c.score) for c in ranked(record) if c.train_score is not None and c.score is not None]
    title = f"{record.dataset}: training against held-out {pretty(record.proper)}"
    if not pairs:
        return empty(title, "No candidate has a score on training rows and one on held-out rows.")
    with figure_style():
        figure = Figure(figsize=(10.5, 6.2), layout=layout())
        axes = figure.add_subplot()
        gap_panel(axes, pairs, pretty(record.proper), digits_of([c for c, _, _ in pairs]))
        note = (
            "Less is better. The drop from a mark to the line of equal scores is its gap. Thick lines: one standard"
            " error over the folds."
        )
        finish(figure, axes, title, note, beside=True)
    return figure


def _count(candidates: int) -> str:
    return "1 candidate" if candidates == 1 else f"{candidates:,} candidates"


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 2] + " …"
