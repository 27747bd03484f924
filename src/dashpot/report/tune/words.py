"""The result of a search and its uncertainty, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dashpot.core.language import mark, say, told
from dashpot.report.robustness.lines import robustness_lines
from dashpot.report.told import TOLD
from dashpot.report.tune.record import Report, TuneRecord, as_record
from dashpot.report.tune.stats import (
    RankedTrial,
    by_role,
    digits_of,
    judge,
    paired,
    pretty,
    ranked,
    recipe_text,
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
                say("Nothing was chosen: no candidate was trained to the end.")
                if not any(c.finalist for c in candidates)
                else say("Nothing was chosen.")
            )
        ]
    lines = [say("Chosen: #{number}: {recipe}", number=chosen.number, recipe=recipe_text(chosen.recipe))]
    own = {
        name: value for name, value in chosen.params.items() if name in ("lr", "batch_size") or name.startswith("net.")
    }
    others = [
        f"{name} {_value(value)}" for name, value in own.items() if finite(value) is not None or isinstance(value, str)
    ]
    lines += [say("  with {settings}", settings=say(", ").join(others))] if others else []
    lines += changes(record.strengths)
    lines += [say("  because: {why}", why=told(record.why, TOLD))] if record.why else []
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
    return [
        say(
            "  its strengths changed while it trained, after epochs {epochs}: {paths}{more}"
            if len(stages) > 2
            else "  its strengths changed while it trained, after epoch {epochs}: {paths}{more}",
            epochs=say(", ").join(str(stage.epoch) for stage in stages[1:]),
            paths=say("; ").join(paths[:MOVED]),
            more=say("; {n} more in report.json", n=len(paths) - MOVED) if len(paths) > MOVED else "",
        )
    ]


def certainty(record: Report, candidates: Sequence[RankedTrial]) -> list[str]:
    """How sure it is that the chosen candidate beats the baseline, and that it beats the others."""
    record = as_record(record)
    chosen, baseline = by_role(candidates, "chosen"), by_role(candidates, "baseline")
    if chosen is None:
        return []
    digits, proper = digits_of(candidates), say(pretty(record.proper))
    lines = []
    gain = paired(chosen, baseline)
    if chosen is baseline:
        lines.append(say("  the baseline itself was chosen: no recipe was better by enough"))
    elif gain is not None:
        verdict = {
            "helps": say("better than the baseline"),
            "hurts": say("worse than the baseline"),
            "unclear": say("not clearly better than the baseline"),
        }.get(judge(gain), say("against the baseline, on one fold"))
        lines.append(
            say(
                "  {verdict}: {gain} {score} gained over the folds, 95 % interval"
                if gain.low is not None
                else "  {verdict}: {gain} {score} gained over the folds",
                verdict=verdict,
                gain=shown_interval(gain, digits),
                score=proper,
            )
        )
    top = next((candidate for candidate in candidates if candidate.finalist), None)
    if top is not None and top.score is not None and top.se is not None:
        bound = top.score + top.se
        near = sum(c.finalist and c.score is not None and c.score <= bound for c in candidates) - 1
        several = say(
            "  {n} others are within one standard error of the best, so the order among them is not sure"
            if near != 1
            else "  {n} other is within one standard error of the best, so the order among them is not sure",
            n=near,
        )
        lines.append(several if near else say("  no other is within one standard error of the best"))
    return lines


def closing(record: Report) -> list[str]:
    """What was decided beside the recipe, how well the test rows can tell, and what the search took."""
    record = as_record(record)
    lines = failures(record)
    decision = record.decision or {}
    parts = [
        f"{say(name)} {_value(decision[name])}"
        for name in (mark("temperature"), "tau")
        if finite(decision.get(name)) is not None
    ]
    offsets = [f"{value:+.2f}" for value in map(finite, decision.get("offsets") or ()) if value is not None]
    offsets = offsets if any(float(offset) for offset in offsets) else []  # the most probable class needs none
    parts += [f"{say('offsets')} {' '.join(offsets[:8])}{' …' if len(offsets) > 8 else ''}"] if offsets else []
    parts += [told(str(decision["note"]), TOLD)] if decision.get("note") else []
    lines += [say("Decision: {parts}.", parts=say("; ").join(parts))] if parts else []
    accuracy, rows = (
        finite(record.test.chosen.get("accuracy")),
        finite(record.test_rows),
    )
    if accuracy is not None and 0 <= accuracy <= 1 and rows:
        error = math.sqrt(accuracy * (1 - accuracy) / rows)
        lines.append(
            say(
                "On {n:,.0f} test rows the accuracy of {accuracy:.4f} has a standard error of {error:.4f}.",
                n=rows,
                accuracy=accuracy,
                error=error,
            )
        )
    lines += robustness_lines(record.robustness)
    took = [say("{n:,.0f} networks", n=members) for members in [finite(record.members_trained)] if members is not None]
    took += [say("{n:,.0f} steps", n=steps) for steps in [finite(record.member_steps)] if steps is not None]
    took += [duration(seconds) for seconds in [finite(record.seconds)] if seconds is not None]
    budget = finite(record.budget_s)
    timed = budget if finite(record.seconds) is not None else None
    memory = finite(record.peak_memory_mb.get("process"))
    held = say("; a process held {n:,.0f} MB of memory at most", n=memory) if memory is not None else ""
    allowed = say(" of {time} allowed", time=duration(timed)) if timed is not None else ""
    whole = say("The search took {took}{allowed}{held}.", took=say(", ").join(took), allowed=allowed, held=held)
    return [*lines, whole] if took else lines


def failures(record: TuneRecord) -> list[str]:
    """How many candidates failed, and why."""
    reasons = Counter(c.reason or say("no reason is known") for c in record.candidates if c.state == "failed")
    words = [say("{why} ({n})", why=why.rstrip("."), n=count) for why, count in reasons.most_common(REASONS)]
    text = say(
        "{n} of {many} candidates failed: {reasons}{more}.",
        n=reasons.total(),
        many=len(record.candidates),
        reasons=say("; ").join(words),
        more=say("; {n} other reasons in report.json", n=len(reasons) - REASONS) if len(reasons) > REASONS else "",
    )
    return [text] if words else []


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42.3), duration(605.0), duration(7260.0)
    ('42 s', '10 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return say("{s} s", s=f"{seconds:.1f}" if seconds < 10 else whole)
    if whole < 3600:
        return say("{m} min {s} s" if whole % 60 else "{m} min", m=whole // 60, s=whole % 60)
    return say("{h} h {m} min" if whole % 3600 // 60 else "{h} h", h=whole // 3600, m=whole % 3600 // 60)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else setting(value)
