"""The page of a look at robustness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.report.page.blocks import Page, Section
from dashpot.report.page.common import environment_section, label, robustness_section
from dashpot.report.page.source import Source, next_commands
from dashpot.report.robustness.record import RobustnessRecord


def robustness_page(record: RobustnessRecord | Mapping[str, Any], source: Source | None = None) -> Page:
    """How scores fall as inputs get worse.

    Raises:
        DataError: no such record.
    """
    record = RobustnessRecord.of(record)
    data = {
        "dataset": record.dataset,
        "task": record.task,
        "rows": record.rows,
        "draws": record.draws,
        "seed": record.seed,
    }
    clean = say(", ").join(f"{model} {digits(score)}" for model, score in record.clean.items())
    summary = [
        say(
            "Asked: how {score} falls on {n:,} rows of {data} as inputs get worse.",
            score=label(record.metric),
            n=record.rows,
            data=record.dataset,
        ),
        say("Found: on the inputs as they are {score} {values}.", score=label(record.metric), values=clean),
        say("How sure: bands are 95 % intervals over {n} draws.", n=record.draws),
    ]
    sections = [
        robustness_section(record.to_dict()),
        Section(say("What to do next"), [next_commands(source or Source(), "robustness")]),
        environment_section(data, record.versions, record.machine),
    ]
    return Page(say("{data}: robustness", data=record.dataset), summary, sections)
