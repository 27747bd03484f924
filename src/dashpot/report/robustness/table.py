"""Robustness as text: a line for each model and corruption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import columns, filled, say
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.style import METRICS


def robustness_text(record: RobustnessRecord | Mapping[str, Any]) -> str:
    """A table: the score on clean inputs, in five strengths of each corruption, and their mean with what it lost.

    Args:
        record: or the content of its robustness.json.
    """
    record = RobustnessRecord.of(record)
    head = ("", say("model"), say("clean"), *map(str, range(1, 6)), say("mean"), say("change"))
    rows = []
    for corruption in record.units:
        for number, model in enumerate(record.clean):
            clean, mean = record.clean[model], record.kept(model, corruption)
            scores = [digits(cell.mean) for cell in record.curve(model, corruption)]
            change = digits(mean - clean, "+")
            rows.append(("" if number else say(corruption), model, digits(clean), *scores, digits(mean), change))
    widths = [max(map(columns, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            filled(cell, width if k < 2 else -width) for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    title = say(
        "{score} on {n:,} rows as inputs get worse, in five strengths{drawn}",
        score=say(METRICS.get(record.metric, record.metric)),
        n=record.rows,
        drawn=say(", mean of {n} draws", n=record.draws) if record.draws > 1 else "",
    )
    return "\n".join([title, *lines])
