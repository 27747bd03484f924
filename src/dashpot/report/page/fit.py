"""The page of one training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import mark, say, told
from dashpot.report.fit.record import FitRecord
from dashpot.report.page.answers import answers_section
from dashpot.report.page.blocks import Block, Chart, Charts, Page, Section, Words
from dashpot.report.page.common import (
    environment_section,
    label,
    robustness_section,
    score_rows,
    weights_section,
)
from dashpot.report.page.lines import Series, line_chart
from dashpot.report.page.source import Source, next_commands, recipe_copies
from dashpot.report.told import TOLD
from dashpot.report.tune.words import duration

History = Sequence[Mapping[str, Any]]
KEYS = (("a", mark("training rows")), ("chosen", mark("validation rows")))


def fit_page(record: FitRecord | Mapping[str, Any], history: History = (), source: Source | None = None) -> Page:
    """What a training found.

    Args:
        record: of the training, or the content of its metrics.json.
        history: a row for each epoch, as in history.jsonl.
        source: what is known beside it.

    Raises:
        DataError: no such record.
    """
    record, source = FitRecord.of(record), source or Source()
    name = str(record.data.get("name") or say("A training"))
    # A page is sent to others: no folder of whoever made it.
    data = {k: Path(v).name if k == "source" else v for k, v in record.data.items() if v is not None and k != "options"}
    sections = [
        Section(say("Scores"), _scores(record)),
        Section(say("Curves"), _curves(history, record)),
        Section(say("Recipe"), recipe_copies(source)),
        weights_section(source.layers),
        answers_section(record.answers, source.texts, source.pictures),
        robustness_section(record.robustness),
        Section(say("What to do next"), [next_commands(source, "fit")]),
        environment_section({**data, "seed": record.seed}, record.versions, record.machine),
    ]
    return Page(say("{data}: a training", data=name), _summary(record, name, source), sections)


def _summary(record: FitRecord, name: str, source: Source) -> list[str]:
    with_ = str(source.recipe) if source.recipe else say("no technique")
    rows = say(", {n:,} rows", n=record.data["rows"]) if isinstance(record.data.get("rows"), int) else ""
    asked = say("Asked: one training on {data}{rows}, with {recipe}.", data=name, rows=rows, recipe=with_)
    if record.diverged:
        found = say("Found: it diverged, {why}.", why=record.diverged.rstrip("."))
        return [asked, found, say("How sure: not at all; the scores are those of the best weights before that.")]
    metric = next((m for m in record.test if m != "loss"), next(iter(record.test), ""))
    scores = (
        (mark("{value} on test rows"), record.test.get(metric)),
        (mark("{value} on training rows"), record.train.get(metric)),
    )
    shown = [say(words, value=digits(float(value))) for words, value in scores if value is not None]
    zeros = record.exact_zeros.get("all", 0.0)
    found = say(
        "Found: {score} {values}{zeros}; {epochs} epochs in {time} ({stopped}{kept}).",
        score=label(metric),
        values=say(", ").join(shown),
        zeros=say("; {share:.1%} of the weights are exactly zero", share=zeros) if zeros else "",
        epochs=record.epochs,
        time=duration(record.seconds),
        stopped=told(record.stopped, TOLD),
        kept=say(", the weights of epoch {n} were kept", n=record.best_epoch) if record.best_epoch else "",
    )
    sure = say("How sure: this is one training on one split; `dashpot compare` repeats it on several, with intervals.")
    return [asked, found, sure]


def _scores(record: FitRecord) -> list[Block]:
    parts = (mark("training"), record.train), (mark("validation"), record.valid), (mark("test"), record.test)
    gaps = [f"{say(name.replace(' - ', ' minus '))} {digits(value, '+')}" for name, value in record.gaps.items()]
    return [score_rows(dict(parts)), Words([say("Gap: {gaps}.", gaps=say(", ").join(gaps))] if gaps else [])]


def _curves(history: History, record: FitRecord) -> list[Block]:
    names = [n.removeprefix("train_") for n in (history[0] if history else {}) if n.startswith("train_")]
    charts = []
    for name in names:
        series = []
        for part, kind in (("train", "a"), ("val", "chosen")):
            points = [
                (float(row["epoch"]), float(value))
                for row in history
                if isinstance(value := row.get(f"{part}_{name}"), int | float) and math.isfinite(value)
            ]
            best = next((p for p in points if p[0] == record.best_epoch), None) if part == "val" else None
            if points:
                series += [Series(points, kind, ring=best)]
        if series:
            # The history of values is of the targets as the network sees them.
            title = label(name) + (say(", standardized target") if name in ("rmse", "mae") else "")
            named = say("{score} by epoch", score=title)
            svg = line_chart(series, named, say("epoch"), label(name), width=370, height=250)
            charts += [Chart(svg, title, keys=[(kind, say(words)) for kind, words in KEYS[: len(series)]])]
    note = say("The distance between the lines is the train-test gap.")
    note += say(" Rings: the epoch whose weights were kept.") if record.best_epoch else ""
    return [Charts(charts, note)] if charts else []
