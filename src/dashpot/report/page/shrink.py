"""The page of a run whose network became smaller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say
from dashpot.report.page.blocks import Block, Chart, Charts, Page, Section, Table, Words
from dashpot.report.page.common import environment_section, label, weights_section
from dashpot.report.page.dots import Mark, dot_chart
from dashpot.report.page.source import Source, next_commands, recipe_copies
from dashpot.report.shrink.record import UNITS, ShrinkRecord

KEYS = (("a", mark("before")), ("chosen", mark("after")))
LAYERS = 24
"""Layers that are drawn at most, the largest ones; the table has them all."""
MEASURES = (
    ("parameters", mark("parameters")),
    ("macs", mark("multiply-adds of a row")),
    ("ms_64", mark("milliseconds at batch 64")),
)
HOW = {
    "exact": mark("units that were exactly zero left, and predictions stayed"),
    "trained": mark("it was trained further while units left"),
    "cut": mark("the units that matter least by their weights left, without training"),
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
        Section(say("Size and time"), _whole(record)),
        Section(say("Scores before and after"), _scores(record)),
        Section(say("Layers"), _layers(record)),
        Section(say("What stayed"), _stayed(record)),
        Section(say("Recipe"), recipe_copies(source)),
        weights_section(source.layers),
        Section(say("What to do next"), [next_commands(source, "shrink")]),
        environment_section(data, {}, record.machine),
    ]
    return Page(say("{data}: a smaller network", data=name), _summary(record, name), sections)


def _summary(record: ShrinkRecord, name: str) -> list[str]:
    asked = say(
        "Asked: the network of {name} with {size}." if record.asked else "Asked: {name} without its zeros.",
        name=name,
        size=record.asked,
    )
    old, new = record.before["parameters"], record.after["parameters"]
    times = [
        say("{times:.3g}x as fast at batch {n}", times=slow / fast, n=batch)
        for batch, (slow, fast) in record.latency.items()
        if fast
    ]
    test = next(iter(record.scores.values()), {})
    metric = next((one for one in test if one != "loss"), next(iter(test), ""))
    found = say(
        "Found: {old:,} parameters became {new:,}{times}{scores}.",
        old=old,
        new=new,
        times="".join(say(", ") + one for one in times),
        scores=say(
            "; {score} {before} before, {after} after",
            score=label(metric),
            before=digits(test[metric][0]),
            after=digits(test[metric][1]),
        )
        if metric
        else "",
    )
    if record.how == "cut":
        moved = say("; outputs on random inputs moved by {share:.0%} of the largest one", share=record.changed or 0.0)
        moved += "" if record.scores else say(", and accuracy was not measured")
    else:
        moved = say("; the cut itself changed outputs by {n:.1e} of the largest one at most", n=record.difference)
    epochs = say(" ({n} epochs)", n=record.epochs) if record.epochs else ""
    how = say("How: {how}{epochs}{moved}.", how=say(HOW.get(record.how, record.how)), epochs=epochs, moved=moved)
    return [asked, found, how]


def _whole(record: ShrinkRecord) -> list[Block]:
    rows = [
        [say(said), f"{record.before[key]:,}", f"{record.after[key]:,}", _ratio(record.before[key], record.after[key])]
        for key, said in UNITS.items()
    ]
    rows += [
        [say("milliseconds at batch {n}", n=batch), f"{slow:.4g}", f"{fast:.4g}", _ratio(slow, fast)]
        for batch, (slow, fast) in record.latency.items()
    ]
    note = say("Times are medians of calls in turn on one thread of this machine.")
    head = ("", say("before"), say("after"), say("ratio"))
    blocks: list[Block] = [Table(head, rows, note=note if record.latency else "")]
    if record.reached is not None:
        reached = say("{size} was asked for; {times:.3g}x was measured.", size=record.asked, times=record.reached)
        blocks.append(Words([reached]))
    further = [say("Batch norms folded: {names}.", names=", ".join(record.folded))] if record.folded else []
    further += [
        say("{name}: two factors of rank {rank}.", name=name, rank=rank) for name, rank in record.factors.items()
    ]
    further += [say("{name}: a sparse matrix of {n:,} weights.", name=name, n=n) for name, n in record.sparse.items()]
    further += [say("{name} stays: {why}.", name=name, why=why) for name, why in record.whole.items()]
    if further:
        blocks.append(Words(further))
    return blocks


def _scores(record: ShrinkRecord) -> list[Block]:
    rows = [
        [say(part), label(name), digits(before), digits(after), digits(after - before, "+")]
        for part, scores in record.scores.items()
        for name, (before, after) in scores.items()
    ]
    head = (say("rows"), say("score"), say("before"), say("after"), say("difference"))
    return [Table(head, rows)] if rows else []


def _layers(record: ShrinkRecord) -> list[Block]:
    if not record.by_layer:
        return []
    largest = sorted(record.by_layer, key=lambda layer: -layer["parameters"][0])[:LAYERS]
    charts = []
    for key, said in MEASURES:
        marks = [
            Mark(_name(layer), float(value), kind=kind, key=f"{say(when)}: {value:,.4g}")
            for layer in record.by_layer
            if layer in largest
            for (kind, when), value in zip(KEYS, layer[key], strict=True)
        ]
        title, keys = say("{measure} of each layer", measure=say(said)), [(kind, say(when)) for kind, when in KEYS]
        charts.append(Chart(dot_chart(marks, title, say(said), width=370), say(said), keys=keys))
    rows = [
        [
            _name(layer),
            str(layer["kind"]),
            *(f"{n:,}" for key in ("parameters", "macs") for n in layer[key]),
            *(f"{n:.3g}" for n in layer["ms_64"]),
        ]
        for layer in record.by_layer
    ]
    after = say("after")
    head = (
        say("layer"),
        say("kind"),
        say("parameters"),
        after,
        say("multiply-adds"),
        after,
        say("ms at batch 64"),
        after,
    )
    many = len(record.by_layer)
    some = say("The largest {n} of {many} layers.", n=LAYERS, many=many) if many > LAYERS else ""
    return [Charts(charts, some), Table(head, rows, say("Each layer"), first=14)]


def _stayed(record: ShrinkRecord) -> list[Block]:
    rows = [[say(reason), f"{count:,}"] for reason, count in record.stayed.items()]
    blocks: list[Block] = [Table((say("empty units that stayed, because"), say("units")), rows)] if rows else []
    if record.left_out:
        blocks.append(
            Words(
                [
                    say(
                        "Without {names}, which do not go with the penalty of the training.",
                        names=say(", ").join(record.left_out),
                    )
                ]
            )
        )
    return blocks


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer["name"] or layer["kind"])


def _ratio(old: float, new: float) -> str:
    return f"{old / new:.3g}x" if new else ""
