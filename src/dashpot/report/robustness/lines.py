"""Robustness in the report of a training: what is left of the score, in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.digits import digits
from dashpot.core.language import say
from dashpot.evaluation.statistics import Interval
from dashpot.report.robustness.record import RobustnessRecord
from dashpot.report.style import METRICS


def robustness_lines(record: RobustnessRecord | Mapping[str, Any]) -> list[str]:
    """For each corruption the mean score over its strengths, with its interval over the draws; nothing for a mapping
    that is empty, where nothing was measured.

    Args:
        record: of one model, or the content of its robustness.json.
    """
    if isinstance(record, Mapping) and not record:
        return []
    record = RobustnessRecord.of(record)
    model, clean = next(iter(record.clean.items()))
    found = {one: record.kept_interval(model, one) for one in record.units}
    parts = [f"{say(one)} {_interval(interval)}" for one, interval in found.items()]
    drawn = any(interval.low is not None for interval in found.values())
    late = say("; no time for {names}", names=say(", ").join(map(say, record.left_out))) if record.left_out else ""
    first = say(
        "Robustness: {score} {value} on {n:,} test rows; as inputs get worse, mean over five strengths{spread}:",
        score=say(METRICS.get(record.metric, record.metric)),
        value=digits(clean),
        n=record.rows,
        spread=say(", 95 % intervals over {n} draws", n=record.draws) if drawn else "",
    )
    return [first, f"  {say(', ').join(parts)}{late}"]


def _interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return digits(interval.mean)
    return f"{digits(interval.mean)} [{digits(interval.low)}, {digits(interval.high)}]"
