"""The page of a look at robustness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.report.page.blocks import Page, Section
from dashpot.report.page.common import environment_section, label, robustness_section
from dashpot.report.page.source import Source, next_commands
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.style import METRICS


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
    clean = ", ".join(f"{model} {digits(score)}" for model, score in record.clean.items())
    summary = [
        f"Asked: how {label(record.metric)} falls on {record.rows:,} rows of {record.dataset} as inputs get worse.",
        f"Found: on the inputs as they are {METRICS.get(record.metric, record.metric)} {clean}.",
        f"How sure: bands are 95 % intervals over {record.draws} draws.",
    ]
    sections = [
        robustness_section(record.to_dict()),
        Section("What to do next", [next_commands(source or Source(), "robustness")]),
        environment_section(data, record.versions, record.machine),
    ]
    return Page(f"{record.dataset}: robustness", summary, sections)
