"""The page of a run whose network became smaller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashpot.core.digits import digits
from dashpot.report.page.blocks import Block, Chart, Charts, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, label, weights_section
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.page.source import Source, next_commands, recipe_copies
from dashpot.report.shrink.record import UNITS, ShrinkRecord

KEYS = (("a", "before"), ("chosen", "after"))
LAYERS = 24
"""Layers that are drawn at most, the largest ones; the table has them all."""
MEASURES = (("parameters", "parameters"), ("macs", "multiply-adds of a row"), ("ms_64", "milliseconds at batch 64"))
HOW = {
    "exact": "units that were exactly zero left, and predictions stayed",
    "trained": "it was trained further while units left",
    "cut": "the units that matter least by their weights left, without training",
}


def shrink_page(record: ShrinkRecord | Mapping[str, Any], source: Source | None = None) -> Page:
    """What a network was, what it became, and what that costs.

    Args:
        record: of the smaller network, or the content of its shrunk.json.
        source: what is known beside it.

    Raises:
        DataError: no such record.
    """
    record, source = ShrinkRecord.of(record), source or Source()
    name = Path(record.run).name
    data = {key: value for key, value in record.data.items() if value is not None}
    sections = [
        Section("Size and time", _whole(record)),
        Section("Scores before and after", _scores(record)),
        Section("Layers", _layers(record)),
        Section("What stayed", _stayed(record)),
        Section("Recipe", recipe_copies(source)),
        weights_section(source.layers),
        Section("What to do next", [next_commands(source, "shrink")]),
        environment_section(data, {}, record.machine),
    ]
    return Page(f"{name}: a smaller network", _summary(record, name), sections)


def _summary(record: ShrinkRecord, name: str) -> list[str]:
    asked = (
        f"Asked: the network of {name} with {record.asked}." if record.asked else f"Asked: {name} without its zeros."
    )
    old, new = record.before["parameters"], record.after["parameters"]
    times = [f"{slow / fast:.3g}x as fast at batch {batch}" for batch, (slow, fast) in record.latency.items() if fast]
    test = next(iter(record.scores.values()), {})
    metric = next((one for one in test if one != "loss"), next(iter(test), ""))
    score = f"; {label(metric)} {digits(test[metric][0])} before, {digits(test[metric][1])} after" if metric else ""
    found = f"Found: {old:,} parameters became {new:,}{', ' if times else ''}{', '.join(times)}{score}."
    epochs = f" ({record.epochs} epochs)" if record.epochs else ""
    sure = f"How: {HOW.get(record.how, record.how)}{epochs}"
    if record.how == "cut":
        moved = f"; outputs on random inputs moved by {record.changed or 0.0:.0%} of the largest one"
        sure += moved + ("" if record.scores else ", and accuracy was not measured")
    else:
        sure += f"; the cut itself changed outputs by {record.difference:.1e} of the largest one at most"
    return [asked, found, f"{sure}."]


def _whole(record: ShrinkRecord) -> list[Block]:
    rows = [
        [said, f"{record.before[key]:,}", f"{record.after[key]:,}", _ratio(record.before[key], record.after[key])]
        for key, said in UNITS.items()
    ]
    rows += [
        [f"milliseconds at batch {batch}", f"{slow:.4g}", f"{fast:.4g}", _ratio(slow, fast)]
        for batch, (slow, fast) in record.latency.items()
    ]
    note = "Times are medians of calls in turn on one thread of this machine."
    blocks: list[Block] = [Table(("", "before", "after", "ratio"), rows, note=note if record.latency else "")]
    if record.reached is not None:
        blocks.append(Words([f"{record.asked} was asked for; {record.reached:.3g}x was measured."]))
    return blocks


def _scores(record: ShrinkRecord) -> list[Block]:
    rows = [
        [part, label(name), digits(before), digits(after), digits(after - before, "+")]
        for part, scores in record.scores.items()
        for name, (before, after) in scores.items()
    ]
    return [Table(("rows", "score", "before", "after", "difference"), rows)] if rows else []


def _layers(record: ShrinkRecord) -> list[Block]:
    if not record.by_layer:
        return []
    largest = sorted(record.by_layer, key=lambda layer: -layer["parameters"][0])[:LAYERS]
    charts = []
    for key, said in MEASURES:
        marks = [
            Mark(_name(layer), float(value), kind=kind, key=f"{when}: {value:,.4g}")
            for layer in record.by_layer
            if layer in largest
            for (kind, when), value in zip(KEYS, layer[key], strict=True)
        ]
        charts.append(Chart(dot_chart(marks, f"{said} of each layer", said, width=370), said, keys=KEYS))
    rows = [
        [
            _name(layer),
            str(layer["kind"]),
            *(f"{n:,}" for key in ("parameters", "macs") for n in layer[key]),
            *(f"{n:.3g}" for n in layer["ms_64"]),
        ]
        for layer in record.by_layer
    ]
    head = ("layer", "kind", "parameters", "after", "multiply-adds", "after", "ms at batch 64", "after")
    some = f"The largest {LAYERS} of {len(record.by_layer)} layers." if len(record.by_layer) > LAYERS else ""
    return [Charts(charts, some), Table(head, rows, "Each layer", first=14)]


def _stayed(record: ShrinkRecord) -> list[Block]:
    rows = [[reason, f"{count:,}"] for reason, count in record.stayed.items()]
    blocks: list[Block] = [Table(("empty units that stayed, because", "units"), rows)] if rows else []
    if record.left_out:
        blocks.append(
            Words([f"Without {', '.join(record.left_out)}, which do not go with the penalty of the training."])
        )
    return blocks


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer["name"] or layer["kind"])


def _ratio(old: float, new: float) -> str:
    return f"{old / new:.3g}x" if new else ""
