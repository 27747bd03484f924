"""The figure of the score against each setting that was searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dashpot.report.style import INK, QUIET, clean, figure_style, layout, wrap
from dashpot.report.tune.axes import (
    COLOURS,
    GRID,
    STATES,
    emphasis,
    empty,
    finish,
    log_scaled,
    log_ticks,
    number_text,
    scale_y,
    score_limits,
)
from dashpot.report.tune.record import Report, as_record
from dashpot.report.tune.stats import RankedTrial, importances, percent, pretty, ranked, setting
from dashpot.report.tune.trial_record import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12
OFF = -0.2
"""Where candidates without the technique stand; the searched range is from 0 to 1."""


@dataclass(frozen=True)
class Panel:
    """One setting: where each candidate stands on the axis from 0 to 1, or at OFF; the ticks; whether many stand at the
    same place.
    """

    name: str
    places: Mapping[int, float]
    ticks: Sequence[tuple[float, str]]
    strips: bool


def draw_strengths(record: Report) -> Figure:
    """The score against each searched strength, a small panel each with its own scale, the most important first and
    twelve at most.
    """
    record = as_record(record)
    from matplotlib.figure import Figure

    scored = [(c, c.score) for c in ranked(record) if c.score is not None]
    shares = dict(importances(record))
    panels = _panels([c for c, _ in scored], shares)
    title = f"{record.dataset}: {pretty(record.proper)} against each setting"
    if not panels:
        return empty(title, "No setting took more than one value.")
    shown, across = panels[:PANELS], min(4, len(panels))
    down = math.ceil(len(shown) / across)
    with figure_style():
        figure = Figure(figsize=(max(3.1 * across, 10.5), 1.25 + 2.35 * down), layout=layout())
        low, high = score_limits(
            [score for _, score in scored], [score for c, score in scored if c.roles or c.finalist]
        )
        grid = figure.subplots(down, across, squeeze=False)
        for i, axes in enumerate(grid.flat):
            if i >= len(shown):
                axes.set_visible(False)
                continue
            _panel(axes, shown[i], scored, (low, high), _share(shares, shown[i].name), label=i == 0)
            if (schedule := scheduled(record.space.get(shown[i].name, ""))) is not None:
                axes.set_title(wrap(f"{shown[i].name} of {schedule}", 30, 2), loc="left", fontsize=10, color=INK)
            axes.tick_params(axis="y", labelleft=i % across == 0)
        log = ", log scale" if log_scaled(low, high) else ""
        note = f"Up: {pretty(record.proper)} on held-out rows{log}; less is better."
        note += " Percent: share of the variance over the search, a technique's switch included." if shares else ""
        cut = any(score > high for _, score in scored)
        note += " Marks at the upper edge lie above it." if cut else ""
        note += f" {len(panels) - PANELS} less important settings are left out." if len(panels) > PANELS else ""
        finish(figure, grid[0, 0], title, note)
    return figure


def scheduled(text: str) -> str | None:
    """The schedule of which a range is one end, from the description of the space; None for another range.

    >>> scheduled("0.1..0.5to0"), scheduled("0.01..0.1@from=90%"), scheduled("0.1..0.5 (log)"), scheduled("a | auto")
    ('0.1..0.5to0', '0.01..0.1@from=90%', None, None)
    """
    return text if ".." in text and ("to" in text or "@" in text) else None


def _panels(candidates: Sequence[RankedTrial], shares: Mapping[str, float]) -> list[Panel]:
    """A panel for each setting with more than one value, the most important first; a technique's switch is the strip of
    its strengths.
    """
    names = dict.fromkeys(name for c in candidates for name in c.params)
    switches = {name for name in names if any(isinstance(c.params.get(name), bool) for c in candidates)}
    covered = {
        name.rpartition(".")[0] for name in names if any(finite(c.params.get(name)) is not None for c in candidates)
    }
    panels = []
    for name in names:
        values = {c.number: c.params[name] for c in candidates if c.params.get(name) is not None}
        numbers = {number: value for number, raw in values.items() if (value := finite(raw)) is not None}
        if name in switches:
            panel = None if name in covered else _strips(name, values)
        elif numbers:
            panel = _scale(name, numbers, [c.number for c in candidates if c.number not in numbers])
        else:
            panel = _strips(name, values)
        if panel is not None:
            panels.append(panel)
    return sorted(panels, key=lambda panel: (-_share(shares, panel.name), panel.name != "lr"))


def _share(shares: Mapping[str, float], name: str) -> float:
    """A setting's importance with that of its technique's switch, since the panel shows both."""
    return shares.get(name, 0.0) + shares.get(name.rpartition(".")[0], 0.0)


def _scale(name: str, values: Mapping[int, float], without: Sequence[int]) -> Panel | None:
    low, high = min(values.values()), max(values.values())
    if low == high and not without:
        return None
    log = log_scaled(low, high, 3.0) and _searched_on_log(name, low, high)
    to: Callable[[float], float] = math.log if log else float
    span = to(high) - to(low)
    places = {number: (to(value) - to(low)) / span if span else 0.5 for number, value in values.items()}
    places |= dict.fromkeys(without, OFF)
    distinct = sorted(set(values.values()))
    texts = [_text(value) for value in distinct[:6]]
    widest = max(map(len, texts))
    # A tick at each value where few were tried, if their numbers have room side by side.
    few = (
        len(distinct) <= 5 and widest <= 5 and all(to(b) - to(a) >= 0.05 * widest * span for a, b in pairwise(distinct))
    )
    ticks = distinct if few else log_ticks(low, high, 4) if log else _linear_ticks(low, high)
    marks = [((to(tick) - to(low)) / span if span else 0.5, _text(tick)) for tick in ticks]
    return Panel(name, places, [*([(OFF, "off")] if without else []), *marks], strips=few)


def _text(value: float) -> str:
    return number_text(value if value >= 1000 else float(f"{value:.3g}"))


def _searched_on_log(name: str, low: float, high: float) -> bool:
    """Whether the setting's field is declared so; other settings, such as ``lr``, are judged by how far their values
    spread.
    """
    from dashpot.core.fields.codec import registry
    from dashpot.core.fields.domains import Range

    if name == "batch_size":
        return True
    technique, _, field = name.rpartition(".")
    cls = registry().get(technique.partition("#")[0])
    spec = cls.fields().get(field) if cls is not None else None
    if spec is not None and isinstance(spec.domain, Range):
        return spec.domain.log
    return high / low >= 8


def _linear_ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if low == high:
        return [low]
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high)]


def _strips(name: str, values: Mapping[int, Any]) -> Panel | None:
    texts = {number: setting(value) for number, value in values.items()}
    kinds = sorted(set(texts.values()))[:6]
    if len(kinds) < 2:
        return None
    at = {kind: (i + 0.5) / len(kinds) for i, kind in enumerate(kinds)}
    ticks = [(at[kind], wrap(kind, max(30 // len(kinds), 3), 2)) for kind in kinds]
    return Panel(name, {number: at[text] for number, text in texts.items() if text in at}, ticks, strips=True)


def _panel(
    axes: Axes,
    panel: Panel,
    scored: Sequence[tuple[RankedTrial, float]],
    limits: tuple[float, float],
    share: float,
    label: bool,
) -> None:
    scale_y(axes, *limits)
    top = axes.get_ylim()[1]
    has_off = any(place < 0 for place in panel.places.values())
    axes.set_xlim(-0.31 if has_off else -0.08, 1.08)
    if has_off:
        axes.axvspan(-0.31, OFF + 0.1, color="#EEF0F2", linewidth=0, zorder=0)
    crowd = 26 if len(scored) < 60 else 14
    for state in ("failed", "pruned", "complete"):
        points = [
            (_jitter(panel, c), min(score, top))
            for c, score in scored
            if c.state == state and not c.roles and c.number in panel.places
        ]
        # Each group is in the key, whether or not it has a mark in the first panel.
        count = sum(c.state == state and not c.roles for c, _ in scored)
        if count:
            x, y = zip(*points, strict=True) if points else ((), ())
            look: dict[str, Any] = {"linewidths": 0.4, "edgecolors": "white", "clip_on": False, "alpha": 0.85}
            axes.scatter(
                x,
                y,
                s=crowd,
                color=COLOURS[state],
                zorder=3,
                label=f"{STATES[state]} ({count})" if label else None,
                **look,
            )
    for c, score in sorted((pair for pair in scored if pair[0].roles), key=lambda pair: "chosen" in pair[0].roles):
        colour, marker, _ = emphasis(c)
        place = [panel.places[c.number]] if c.number in panel.places else []
        mark: dict[str, Any] = {
            "color": colour,
            "markersize": 7.5,
            "markeredgecolor": "white",
            "markeredgewidth": 1,
            "linestyle": "none",
        }
        axes.plot(
            place, [score] * len(place), marker, zorder=5, label=c.label if label else None, clip_on=False, **mark
        )
    axes.set_xticks([at for at, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.set_title(wrap(panel.name, 30, 1), loc="left", fontsize=10, color=INK)
    if share > 0:
        axes.set_title(percent(share), loc="right", fontsize=9, color=QUIET)
    axes.grid(color=GRID, linewidth=0.8)
    clean(axes)
    axes.tick_params(axis="y", which="both", left=False)
    axes.tick_params(labelsize=8.5)


def _jitter(panel: Panel, candidate: RankedTrial) -> float:
    """Marks in a strip side by side, by their number, so that the figure is the same every time."""
    place = panel.places[candidate.number]
    return place + (0.11 * ((candidate.number * 0.618034) % 1 - 0.5) if place < 0 or panel.strips else 0.0)
