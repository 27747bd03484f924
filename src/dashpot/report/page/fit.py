"""The page of one training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashpot.core.digits import digits
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
from dashpot.report.tune.words import duration

History = Sequence[Mapping[str, Any]]
KEYS = (("a", "training rows"), ("chosen", "validation rows"))


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
    name = str(record.data.get("name") or "A training")
    # A page is sent to others: no folder of whoever made it.
    data = {k: Path(v).name if k == "source" else v for k, v in record.data.items() if v is not None}
    sections = [
        Section("Scores", _scores(record)),
        Section("Curves", _curves(history, record)),
        Section("Recipe", recipe_copies(source)),
        weights_section(source.layers),
        answers_section(record.answers, source.texts, source.pictures),
        robustness_section(record.robustness),
        Section("What to do next", [next_commands(source, "fit")]),
        environment_section({**data, "seed": record.seed}, record.versions, record.machine),
    ]
    return Page(f"{name}: a training", _summary(record, name, source), sections)


def _summary(record: FitRecord, name: str, source: Source) -> list[str]:
    with_ = str(source.recipe) if source.recipe else "no technique"
    rows = f", {record.data['rows']:,} rows" if isinstance(record.data.get("rows"), int) else ""
    asked = f"Asked: one training on {name}{rows}, with {with_}."
    if record.diverged:
        return [asked, f"Found: it diverged, {record.diverged}."]
    metric = next((m for m in record.test if m != "loss"), next(iter(record.test), ""))
    scores = [(part, own.get(metric)) for part, own in (("test", record.test), ("training", record.train))]
    shown = [f"{digits(float(value))} on {part} rows" for part, value in scores if value is not None]
    zeros = record.exact_zeros.get("all", 0.0)
    some = f"; {zeros:.1%} of the weights are exactly zero" if zeros else ""
    kept = f", the weights of epoch {record.best_epoch} were kept" if record.best_epoch else ""
    found = (
        f"Found: {label(metric)} {', '.join(shown)}{some}; {record.epochs} epochs in {duration(record.seconds)}"
        f" ({record.stopped}{kept})."
    )
    sure = "How sure: this is one training on one split; `dashpot compare` repeats it on several, with intervals."
    return [asked, found, sure]


def _scores(record: FitRecord) -> list[Block]:
    table = score_rows({"training": record.train, "validation": record.valid, "test": record.test})
    gaps = [f"{name.replace(' - ', ' minus ')} {digits(value, '+')}" for name, value in record.gaps.items()]
    return [table, Words([f"Gap: {', '.join(gaps)}."] if gaps else [])]


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
            title = label(name) + (", standardized target" if name in ("rmse", "mae") else "")
            svg = line_chart(series, f"{title} by epoch", "epoch", label(name), width=370, height=250)
            charts += [Chart(svg, title, keys=KEYS[: len(series)])]
    ring = " Rings: the epoch whose weights were kept." if record.best_epoch else ""
    return [Charts(charts, f"The distance between the lines is the train-test gap.{ring}")] if charts else []
