"""Sections that several pages have: environment, robustness, weights, mistakes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say
from dashpot.report.page.blocks import Block, Chart, Charts, Section, Table, Words
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.svg import Scale, box, drawing, line, text
from dashpot.report.robustness.lines import robustness_lines
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.style import METRICS
from dashpot.report.tune.axes import number_text
from dashpot.report.tune.stats import percent

TASKS = (mark("classification"), mark("regression"))


def label(name: str) -> str:
    """A score's name as people write it."""
    return say(METRICS.get(name, name.replace("_", " ")))


def score_rows(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each part of the data, a column for each score."""
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    rows = [[say(part), *(_number(row.get(name)) for name in names)] for part, row in scores.items()]
    return Table((say("rows"), *map(label, names)), rows, say("Scores by part of the data"))


def robustness_section(record: Mapping[str, Any]) -> Section:
    """A line for each model under each corruption."""
    if not record:
        return Section(say("Robustness"), ())
    found = RobustnessRecord.of(record)
    charts = []
    for name, unit in found.units.items():
        series = [
            Series(
                [(0, clean)] + [(c.strength, c.mean) for c in found.curve(model, name)],
                "abc"[i % 3],
                band=[
                    (c.strength, c.low, c.high)
                    for c in found.curve(model, name)
                    if c.low is not None and c.high is not None
                ],
                label=model if len(found.clean) > 1 else "",
            )
            for i, (model, clean) in enumerate(found.clean.items())
        ]
        charts += [
            Chart(
                line_chart(
                    series,
                    say("{score} under {corruption}", score=label(found.metric), corruption=say(name)),
                    say("strength"),
                    label(found.metric),
                    log_y=False,
                    width=370,
                    height=240,
                ),
                say(name),
                say("in {unit}", unit=say(unit)),
            )
        ]
    blocks: list[Block] = [Words(robustness_lines(record))] if len(found.clean) == 1 else []
    note = say("Strength 0: the inputs as they are. Bands: 95 % intervals over {n} draws.", n=found.draws)
    return Section(say("Robustness"), [*blocks, Charts(charts, note)] if charts else blocks)


def weights_section(layers: Sequence[Mapping[str, Any]]) -> Section:
    """How the weights of each layer are distributed, and how many are exactly zero."""
    if not layers:
        return Section(say("Weights"), ())
    rows = [
        [
            str(found["name"]),
            f"{int(found['values']):,}",
            f"{int(found['zeros']):,}",
            percent(found["zeros"] / found["values"]) if found["values"] else "",
        ]
        for found in layers
    ]
    charts = [Chart(_histogram(found), str(found["name"])) for found in layers[:12] if found.get("counts")]
    head = (say("layer"), say("weights"), say("exactly zero"), say("share"))
    blocks: list[Block] = [Table(head, rows, say("Exact zeros by layer"), first=14)]
    drawn = [Charts(charts, say("Weights that are not zero."))] if charts else []
    return Section(say("Weights"), [*blocks, *drawn])


def _histogram(found: Mapping[str, Any]) -> Any:
    counts, edges = [float(c) for c in found["counts"]], [float(e) for e in found["edges"]]
    x, most = Scale(edges[0], edges[-1], 12, 358), max(counts) or 1.0
    parts = [
        box(x(low), 130 - 112 * count / most, x(high) - x(low) - 0.5, 112 * count / most, "bar")
        for count, low, high in zip(counts, edges, edges[1:], strict=False)
    ]
    parts += [line(12, 130, 358, 130, "axis")]
    parts += [text(x(v), 148, number_text(v), "tick", "middle") for v in x.ticks(4)]
    return drawing(parts, say("Distribution of the weights of {layer}", layer=found["name"]), 370, 156)


def environment_section(data: Mapping[str, Any], versions: Mapping[str, Any], machine: Mapping[str, Any]) -> Section:
    """Data, versions and machine."""
    groups: dict[str, Mapping[str, Any]] = defaultdict(
        dict, {say("data"): data, say("versions"): versions, say("machine"): machine}
    )
    rows = [
        [say("{group}: {name}", group=group, name=say(name)), _value(value)]
        for group, own in groups.items()
        for name, value in own.items()
    ]
    return Section(say("Data and environment"), [Table(("", ""), rows, first=60)] if rows else ())


def _value(value: Any) -> str:
    return say("none") if value is None else say(value) if value in TASKS else str(value)


def _number(value: Any) -> str:
    return digits(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value or "")
