"""The page of scores against sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.report.page.blocks import Block, Chart, Charts, Page, Section, Table
from dashpot.report.page.common import environment_section, label
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.onward import after_path, rows_of, short
from dashpot.report.page.source import Source, next_commands
from dashpot.report.sizes.record import MEASURES, SizesRecord
from dashpot.report.tune.words import duration


def sizes_page(record: SizesRecord | Mapping[str, Any], source: Source | None = None) -> Page:
    """The score of networks of each size.

    Args:
        record: of a search over sizes, or the content of its sizes.json.
        source: what is known beside it.

    Raises:
        DataError: no such record.
    """
    record = SizesRecord.of(record)
    data = {name: getattr(record, name) for name in ("dataset", "task", "network", "rows", "features", "folds", "seed")}
    onward = after_path(record, rows_of(record, folders=False))
    data = {"technique": short(record.technique), **data}
    sections = [
        Section(say("Score against size"), _fronts(record)),
        Section(say("All sizes"), [_table(record)]),
        Section(say("What to do next"), [next_commands(source or Source(), "path", onward)]),
        environment_section({k: v for k, v in data.items() if v is not None}, {}, {}),
    ]
    title = say("{data}: score against size", data=record.dataset or say("Data"))
    return Page(title, _summary(record), sections)


def _summary(record: SizesRecord) -> list[str]:
    asked = say(
        "Asked: how small the network may become on {rows:,} rows with {features:,} features, over {folds} folds and"
        " {n} sizes ({time}).",
        rows=record.rows,
        features=record.features,
        folds=record.folds,
        n=len(record.sizes),
        time=duration(record.seconds),
    )

    def scored(point: int) -> str:
        value = record.score[point]
        return (
            say(" with {metric} {value}", metric=label(record.metric), value=digits(value)) if value is not None else ""
        )

    one, best = record.one_se, record.best
    found = say(
        "Found: {n:,} parameters{scored}; the lowest loss is at {many:,}{other}."
        if one != best
        else "Found: {n:,} parameters{scored}, which has the lowest loss, too.",
        n=record.parameters[one],
        scored=scored(one),
        many=record.parameters[best],
        other=scored(best),
    )
    sure = say(
        "How sure: the first is the smallest network whose loss is within one standard error of the lowest, and whose"
        " score is less than one standard error below, fold by fold."
    )
    return [asked, found, sure]


def _fronts(record: SizesRecord) -> list[Block]:
    def chart(field: str, said: str) -> Chart:
        costs = record.cost(field)
        known = [
            (costs[i], value, record.score_se[i] or 0.0) for i, value in enumerate(record.score) if value is not None
        ]
        marks = [
            Series([(costs[i], value)], kind, "")
            for i, kind in ((record.best, "baseline"), (record.one_se, "chosen"))
            if (value := record.score[i]) is not None
        ]
        band = [(x, value - error, value + error) for x, value, error in known]
        svg = line_chart(
            [Series([(x, value) for x, value, _ in known], "a", band=band), *marks],
            say("{metric} by {what}", metric=label(record.metric), what=said),
            said,
            label(record.metric),
            log_x=True,
            log_y=False,
            width=370,
            height=250,
        )
        return Chart(
            svg, said, keys=(("chosen", say("smallest within one standard error")), ("baseline", say("lowest loss")))
        )

    charts = [chart(field, say(said)) for field, said in MEASURES.items()]
    return [Charts(charts, say("On held-out rows. Bands: one standard error over the folds."))]


def _table(record: SizesRecord) -> Table:
    def number(value: float | None) -> str:
        return "" if value is None else digits(value)

    rows = [
        [
            size,
            f"{record.parameters[i]:,}",
            f"{record.macs[i]:,}",
            f"{record.ms_1[i]:.3g}",
            f"{record.ms_64[i]:.3g}",
            number(record.loss[i]),
            number(record.score[i]),
        ]
        for i, size in enumerate(record.sizes)
    ]
    costs = (say("parameters"), say("multiply-adds"), say("ms, batch 1"), say("ms, batch 64"))
    head = (say("asked for"), *costs, say("loss"), label(record.metric))
    return Table(head, rows, say("From small to large"), "", frozenset({record.one_se}), 15, sortable=True)
