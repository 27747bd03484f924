"""The result of a search and its uncertainty, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dashpot.report.robustness.lines import robustness_lines
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import (
    RankedTrial,
    by_role,
    digits_of,
    judge,
    paired,
    pretty,
    ranked,
    setting,
    shown_interval,
)
from dashpot.report.tune.trial_record import StageRecord, finite

REASONS = 3
"""Different reasons of failed candidates that are written out."""
MOVED = 6
"""Strengths whose changes are written out."""


def opening(record: Report) -> list[str]:
    """What was chosen, why, and how sure the choice is."""
    record = as_record(record)
    candidates = ranked(record)
    chosen = by_role(candidates, "chosen")
    if chosen is None:
        return [
            (
                "Nothing was chosen: no candidate was trained to the end."
                if not any(c.finalist for c in candidates)
                else "Nothing was chosen."
            )
        ]
    lines = [f"Chosen: #{chosen.number}: {chosen.recipe or 'no technique'}"]
    own = {
        name: value for name, value in chosen.params.items() if name in ("lr", "batch_size") or name.startswith("net.")
    }
    others = [
        f"{name} {_value(value)}" for name, value in own.items() if finite(value) is not None or isinstance(value, str)
    ]
    lines += [f"  with {', '.join(others)}"] if others else []
    lines += changes(record.strengths)
    lines += [f"  because: {record.why}"] if record.why else []
    return [*lines, *certainty(record, candidates)]


def changes(stages: Sequence[StageRecord]) -> list[str]:
    """How the strengths of the chosen network changed while it trained.

    Args:
        stages: from epoch 0 on.
    """
    if len(stages) < 2:
        return []
    every = [stage.params for stage in stages]
    names = dict.fromkeys(name for params in reversed(every) for name in params)
    moved = [name for name in names if len({params.get(name) for params in every}) > 1]
    paths = [f"{name} {' → '.join(_value(params.get(name)) for params in every)}" for name in moved]
    more = f"; {len(paths) - MOVED} more in report.json" if len(paths) > MOVED else ""
    after = ", ".join(str(stage.epoch) for stage in stages[1:])
    return [
        f"  its strengths changed while it trained, after epoch{'s' * (len(stages) > 2)} {after}:"
        f" {'; '.join(paths[:MOVED])}{more}"
    ]


def certainty(record: Report, candidates: Sequence[RankedTrial]) -> list[str]:
    """How sure it is that the chosen candidate beats the baseline, and that it beats the others."""
    record = as_record(record)
    chosen, baseline = by_role(candidates, "chosen"), by_role(candidates, "baseline")
    if chosen is None:
        return []
    digits, proper = digits_of(candidates), pretty(record.proper)
    lines = []
    gain = paired(chosen, baseline)
    if chosen is baseline:
        lines.append("  the baseline itself was chosen: no recipe was better by enough")
    elif gain is not None:
        words = {
            "helps": "better than the baseline",
            "hurts": "worse than the baseline",
            "unclear": "not clearly better than the baseline",
        }
        verdict = words.get(judge(gain), "against the baseline, on one fold")
        lines.append(
            f"  {verdict}: {shown_interval(gain, digits)} {proper} gained over the folds"
            + (", 95 % interval" if gain.low is not None else "")
        )
    top = next((candidate for candidate in candidates if candidate.finalist), None)
    if top is not None and top.score is not None and top.se is not None:
        bound = top.score + top.se
        near = sum(c.finalist and c.score is not None and c.score <= bound for c in candidates) - 1
        several = (
            f"{near} other{'s are' if near != 1 else ' is'} within one standard error of the best, so the order among"
            " them is not sure"
        )
        lines.append(f"  {several}" if near else "  no other is within one standard error of the best")
    return lines


def closing(record: Report) -> list[str]:
    """What was decided beside the recipe, how well the test rows can tell, and what the search took."""
    record = as_record(record)
    lines = failures(record)
    decision = record.decision or {}
    parts = [
        f"{name} {_value(decision[name])}" for name in ("temperature", "tau") if finite(decision.get(name)) is not None
    ]
    offsets = [f"{value:+.2f}" for value in map(finite, decision.get("offsets") or ()) if value is not None]
    offsets = offsets if any(float(offset) for offset in offsets) else []  # the most probable class needs none
    parts += [f"offsets {' '.join(offsets[:8])}{' …' if len(offsets) > 8 else ''}"] if offsets else []
    parts += [str(decision["note"])] if decision.get("note") else []
    lines += [f"Decision: {'; '.join(parts)}."] if parts else []
    accuracy, rows = (
        finite(record.test.chosen.get("accuracy")),
        finite(record.test_rows),
    )
    if accuracy is not None and 0 <= accuracy <= 1 and rows:
        error = math.sqrt(accuracy * (1 - accuracy) / rows)
        lines.append(f"On {rows:,.0f} test rows the accuracy of {accuracy:.4f} has a standard error of {error:.4f}.")
    lines += robustness_lines(record.robustness)
    took = [f"{members:,.0f} networks" for members in [finite(record.members_trained)] if members is not None]
    took += [f"{steps:,.0f} steps" for steps in [finite(record.member_steps)] if steps is not None]
    took += [duration(seconds) for seconds in [finite(record.seconds)] if seconds is not None]
    budget = finite(record.budget_s)
    allowed = f" of {duration(budget)} allowed" if budget is not None and finite(record.seconds) is not None else ""
    memory = finite(record.peak_memory_mb.get("process"))
    held = f"; a process held {memory:,.0f} MB of memory at most" if memory is not None else ""
    return [*lines, f"The search took {', '.join(took)}{allowed}{held}."] if took else lines


def failures(record: TuneRecord) -> list[str]:
    """How many candidates failed, and why."""
    reasons = Counter(c.reason or "no reason is known" for c in record.candidates if c.state == "failed")
    words = [f"{why.rstrip('.')} ({count})" for why, count in reasons.most_common(REASONS)]
    more = f"; {len(reasons) - REASONS} other reasons in report.json" if len(reasons) > REASONS else ""
    text = f"{reasons.total()} of {len(record.candidates)} candidates failed: {'; '.join(words)}{more}."
    return [text] if words else []


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42.3), duration(605.0), duration(7260.0)
    ('42 s', '10 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else setting(value)
