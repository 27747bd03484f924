"""The page of a regularization path."""

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
from dashpot.report.path.figure import coefficient_lines
from dashpot.report.path.record import PathRecord
from dashpot.report.tune.stats import percent
from dashpot.report.tune.words import duration

NAMED = 8
"""Coefficients with a name in the drawing: the largest."""


def path_page(record: PathRecord | Mapping[str, Any], source: Source | None = None) -> Page:
    """Score, zeros and features kept at each strength.

    Args:
        record: of a path, or the content of its path.json.
        source: what is known beside it.

    Raises:
        DataError: no such record.
    """
    record = PathRecord.of(record)
    data = {name: getattr(record, name) for name in ("dataset", "task", "network", "rows", "features", "folds", "seed")}
    onward = after_path(record, rows_of(record, folders=False))
    data = {"technique": short(record.technique), **data}
    sections = [
        Section(say("Along the strengths"), _curves(record)),
        Section(say("Coefficients"), _coefficients(record)),
        Section(say("Features kept"), _features(record)),
        Section(say("All strengths"), [_table(record)]),
        Section(say("What to do next"), [next_commands(source or Source(), "path", onward)]),
        environment_section({k: v for k, v in data.items() if v is not None}, {}, {}),
    ]
    data_, technique = record.dataset or say("Data"), record.technique.partition(":")[0]
    title = say("{data}: the path of {technique}", data=data_, technique=technique)
    return Page(title, _summary(record), sections)


def _summary(record: PathRecord) -> list[str]:
    asked = say(
        "Asked: the strength of {technique} on {rows:,} rows with {features:,} features, over {folds} folds and {n}"
        " strengths ({time}).",
        technique=record.technique.partition(":")[0],
        rows=record.rows,
        features=record.features,
        folds=record.folds,
        n=len(record.strengths),
        time=duration(record.seconds),
    )
    one, best = record.one_se, record.best
    score = record.score[one]
    found = say(
        "Found: strength {one:.3g} keeps {kept:,} of {features:,} features{value}; the lowest loss is at {best:.3g}"
        " with {more:,}."
        if one != best
        else "Found: strength {one:.3g} keeps {kept:,} of {features:,} features{value}; it has the lowest loss, too.",
        one=record.strengths[one],
        kept=record.selected[one],
        features=record.features,
        value=say(", {score} {value}", score=label(record.metric), value=digits(score)) if score is not None else "",
        best=record.strengths[best],
        more=record.selected[best],
    )
    error = record.loss_se[best]
    spread = say(" (standard error of the loss there {value})", value=digits(error)) if error is not None else ""
    sure = say(
        "How sure: the first is the strongest penalty within one standard error of the best{spread}.", spread=spread
    )
    return [asked, found, sure]


def _curves(record: PathRecord) -> list[Block]:
    order = sorted(range(len(record.strengths)), key=lambda i: record.strengths[i])

    def chart(name: str, values: list[float | None], errors: list[float | None] | None = None) -> Chart:
        points = [(record.strengths[i], v) for i in order if (v := values[i]) is not None]
        band = [
            (record.strengths[i], v - e, v + e)
            for i in order
            if errors and (v := values[i]) is not None and (e := errors[i]) is not None
        ]
        marks = [
            Series([(record.strengths[i], v)], kind, words)
            for i, kind, words in ((record.best, "baseline", ""), (record.one_se, "chosen", ""))
            if (v := values[i]) is not None
        ]
        svg = line_chart(
            [Series(points, "a", band=band), *marks],
            say("{score} by strength", score=name),
            say("strength"),
            name,
            log_x=True,
            log_y=False,
            width=370,
            height=250,
        )
        keys = (("chosen", say("one-standard-error choice")), ("baseline", say("lowest loss")))
        return Chart(svg, name, keys=keys)

    charts = [
        chart(say("{score} on held-out rows", score=label(record.metric)), record.score, record.score_se),
        chart(say("{score} on held-out rows", score=label("loss")), record.loss, record.loss_se),
        chart(say("features kept"), [float(v) for v in record.selected]),
        chart(say("share of exact zeros"), list(record.zeros)),
    ]
    return [Charts(charts, say("Bands: one standard error over the folds."))]


def _coefficients(record: PathRecord) -> list[Block]:
    lines = coefficient_lines(record)
    if not lines:
        return []
    # Strengths fall along the record: labels stand at the weak end, where the coefficients are largest.
    series = [
        Series(
            list(zip(record.strengths, map(float, values), strict=True)),
            "abc"[i % 3] if i < NAMED else "pruned",
            name if i < NAMED else "",
        )
        for i, (name, values) in reversed(list(enumerate(lines)))
    ]
    title, axis = say("Coefficients of the linear model"), say("coefficient")
    svg = line_chart(series, title, say("strength"), axis, log_x=True, log_y=False, falling=True, height=420)
    return [Chart(svg, title, say("The {n} largest; the penalty weakens to the right.", n=len(lines)))]


def _features(record: PathRecord) -> list[Block]:
    if not record.coefficients:
        return []
    names = [str(record.feature_names[column]) for column in record.coefficients[record.one_se]["columns"]]
    shares = record.stability or {}
    rows = [[name, *([percent(shares[name]) if name in shares else ""] if shares else [])] for name in names]
    head = (say("feature"), say("chosen from halves of the rows")) if shares else (say("feature"),)
    caption = say("The {n:,} features of the one-standard-error choice", n=len(rows))
    return [Table(head, rows, caption, first=40)] if rows else []


def _table(record: PathRecord) -> Table:
    def number(value: float | None) -> str:
        return "" if value is None else digits(value)

    rows = [
        [
            f"{s:.4g}",
            number(record.loss[i]),
            number(record.score[i]),
            f"{record.selected[i]:,}",
            percent(record.zeros[i]),
        ]
        for i, s in enumerate(record.strengths)
    ]
    head = (say("strength"), label("loss"), label(record.metric), say("features kept"), say("exact zeros"))
    return Table(head, rows, say("From strong to weak"), "", frozenset({record.one_se}), 15, sortable=True)
