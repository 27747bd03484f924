"""From the record of a search to the numbers of its tables and figures."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.language import mark, say
from dashpot.evaluation.statistics import Interval, corrected_interval
from dashpot.report.style import METRICS
from dashpot.report.tune.record import EffectRecord, Report, TuneRecord, as_record
from dashpot.report.tune.trial_record import TrialRecord, finite, whole

NAMES = METRICS
NONE, NOTHING = mark("no interval"), mark("no technique")
LEFT_OUT = {"helps": mark("helps"), "hurts": mark("hurts")}
ALONE = {"helps": mark("helps alone"), "hurts": mark("hurts alone"), "unclear": mark("no clear effect alone")}
PAIRS = {"helps": mark("more than their sum"), "hurts": mark("less than their sum"), "unclear": mark("no clear effect")}
"""What the intervals of techniques and of their pairs say."""


@dataclass(frozen=True)
class RankedTrial(TrialRecord):
    """A candidate of a search, with its place in it.

    Attributes:
        roles: any of ``"chosen"``, ``"best"``, ``"baseline"`` and ``"default"``.
        finalist: whether it was trained to the end, on as many folds as any.
    """

    roles: tuple[str, ...] = ()
    finalist: bool = False

    @property
    def label(self) -> str:
        """``#17``, or ``#17 chosen, best``."""
        return f"#{self.number} {', '.join(self.roles)}".strip()

    @property
    def techniques(self) -> str:
        """Which techniques are on, or the recipe where the parameters do not say."""
        switches = {name: value for name, value in self.params.items() if isinstance(value, bool) and "." not in name}
        return " + ".join(name for name, on in switches.items() if on) or (
            "no technique" if switches or not self.recipe else self.recipe
        )


@dataclass(frozen=True)
class Contribution:
    """What a technique gained, measured by leaving it out of the chosen recipe and by adding it alone to the baseline;
    None where not measured.
    """

    technique: str
    left_out: Interval | None = None
    alone: Interval | None = None
    folds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """What the intervals say, in plain words: the one of leaving it out first."""
        left, alone = judge(self.left_out), judge(self.alone)
        if self.left_out is None:
            return ALONE.get(alone, mark("not measured") if self.alone is None else NONE)
        if left == "unclear":
            return mark("helps only alone") if alone == "helps" else mark("no clear effect")
        return LEFT_OUT.get(left, NONE)


def judge(interval: Interval | None) -> str:
    """``"helps"``, ``"hurts"`` or ``"unclear"``, by the side of zero that the interval lies on; "" without an interval.

    >>> judge(Interval(0.2, 0.1, 0.3)), judge(Interval(0.2, -0.1, 0.5)), judge(Interval(-0.2, -0.3, -0.1)), judge(None)
    ('helps', 'unclear', 'hurts', '')
    """
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return "helps" if interval.low > 0 else "hurts" if interval.high < 0 else "unclear"


def pretty(name: str) -> str:
    """A score's name as people write it.

    >>> pretty("log_loss"), pretty("my_score")
    ('log loss', 'my score')
    """
    return NAMES.get(name, name.replace("_", " "))


def setting(value: Any) -> str:
    """A setting that is no number, as people write it.

    >>> setting(True), setting(False), setting(None), setting("rows")
    ('on', 'off', 'none', 'rows')
    """
    if isinstance(value, bool):
        return say("on") if value else say("off")
    return say("none") if value is None else str(value)


def named(candidate: RankedTrial) -> str:
    """Its label, in the language that is spoken: ``#17 chosen, best``."""
    return f"#{candidate.number} {say(', ').join(say(role) for role in candidate.roles)}".strip()


def recipe_text(recipe: str) -> str:
    """A recipe, or that there is none, in the language that is spoken."""
    return say(NOTHING) if recipe in ("", NOTHING, "Recipe()") else recipe


def ranked(record: Report) -> list[RankedTrial]:
    """The candidates, best first: finalists by their score, then those with fewer folds, then pruned ones, then what
    has no score.

    A score over fewer folds or epochs is not comparable, and the best of many such is mostly noise.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    record = as_record(record)
    most = max((row.folds for row in record.candidates if row.state == "complete"), default=0)
    found = [_ranked(row, record, most) for row in record.candidates]
    states = {"complete": 0, "pruned": 1}
    return sorted(
        found,
        key=lambda c: (
            c.score is None,
            states.get(c.state, 2),
            -c.folds,
            -c.epochs if c.state != "complete" else 0,
            c.score or 0.0,
            c.number,
        ),
    )


def _ranked(row: TrialRecord, record: TuneRecord, most: int) -> RankedTrial:
    numbers = {"chosen": record.chosen, "best": record.best, "baseline": record.baseline}
    roles = [role for role, number in numbers.items() if number == row.number]
    roles += [row.name] if row.name and row.name not in roles else []
    finalist = row.state == "complete" and row.score is not None and row.folds == most
    own = {spec.name: getattr(row, spec.name) for spec in dataclasses.fields(TrialRecord)}
    return RankedTrial(**own, roles=tuple(roles), finalist=finalist)


def by_role(candidates: Iterable[RankedTrial], role: str) -> RankedTrial | None:
    """The candidate with that role, if there is one."""
    return next((candidate for candidate in candidates if role in candidate.roles), None)


def contributions(record: Report) -> list[Contribution]:
    """One for each technique, those that gained most first; techniques that were only tried alone come last."""
    record = as_record(record)
    found: dict[str, dict[str, Any]] = {}
    for row in record.contributions:
        slot = "alone" if row.kind == "alone" else "left_out"
        entry = found.setdefault(row.techniques[0], {"folds": {}})
        entry[slot] = _interval(row)
        entry["folds"][slot] = row.folds
    rows = [Contribution(name, **entry) for name, entry in found.items()]
    return sorted(
        rows,
        key=lambda c: (
            c.left_out is None,
            c.alone is None,
            -(c.left_out or c.alone or Interval(0.0, None, None)).mean,
            c.technique,
        ),
    )


def interactions(record: Report) -> list[tuple[str, Interval]]:
    """Pairs of techniques and what they gain together beyond the sum of both, the strongest first; pairs without a
    number are left out.
    """
    record = as_record(record)
    found = [(" + ".join(row.techniques), _interval(row)) for row in record.interactions]
    return sorted(
        ((name, interval) for name, interval in found if interval is not None), key=lambda pair: -abs(pair[1].mean)
    )


def importances(record: Report) -> list[tuple[str, float]]:
    """The settings and their shares of the variance over the search, the largest first."""
    record = as_record(record)
    found = [(str(name), finite(share)) for name, share in record.importance.items()]
    return sorted(((name, share) for name, share in found if share is not None), key=lambda pair: (-pair[1], pair[0]))


def paired(better: RankedTrial | None, other: RankedTrial | None) -> Interval | None:
    """By how much the one's score is below the other's, fold by fold, with a 95 % interval that allows for shared
    training rows; None without common folds.
    """
    if better is None or other is None or better is other:
        return None
    pairs = [
        b - a for a, b in zip(better.fold_scores, other.fold_scores, strict=False) if a is not None and b is not None
    ]
    # Each of k folds is tested on 1 / k of the rows and trained on the rest.
    folds = max(len(better.fold_scores), len(other.fold_scores), 2)
    return corrected_interval(pairs, 1 / (folds - 1)) if pairs else None


def decimals(values: Iterable[float | None]) -> int:
    """Digits after the point, the same for all scores of a search, by their typical size.

    >>> decimals([0.31, 0.42]), decimals([48213.0]), decimals([0.00012, None]), decimals([])
    (4, 0, 7, 4)
    """
    size = statistics.median([abs(value) for value in values if value] or [1.0])
    return 0 if size >= 1000 else 2 if size >= 100 else 4 if size >= 0.01 else min(3 - math.floor(math.log10(size)), 12)


def digits_of(candidates: Sequence[RankedTrial]) -> int:
    """The digits after the point for this search's proper scores."""
    return decimals(candidate.score for candidate in candidates)


def shown(value: float | None, digits: int, sign: str = "") -> str:
    """A number for people: ``digits`` after the point, thousands set apart, powers of ten where it is huge; "" for
    None.

    >>> shown(48213.4, 0), shown(0.31, 4, "+"), shown(-3e12, 4), shown(None, 4)
    ('48,213', '+0.3100', '-3.00e+12', '')
    """
    if value is None:
        return ""
    return f"{value:{sign or '-'}.2e}" if abs(value) >= 1e9 else f"{value:{sign or '-'},.{digits}f}"


def shown_interval(interval: Interval | None, digits: int) -> str:
    """``+0.0123 [-0.0010, +0.0256]``, the mean alone without an interval, "" for None."""
    if interval is None:
        return ""
    mean = shown(interval.mean, digits, "+")
    return (
        mean
        if interval.low is None
        else f"{mean} [{shown(interval.low, digits, '+')}, {shown(interval.high, digits, '+')}]"
    )


def sureness(record: Report) -> str:
    """How sure the intervals of contributions are, and of which trainings they are where those are others than the
    final model's; as the end of a sentence.
    """
    of = as_record(record).race.get("explained")
    usual = say("of twenty such intervals about one misses the truth")
    if not isinstance(of, Mapping) or not whole(of.get("epochs")):
        return usual
    size, rows = of.get("size"), whole(of.get("rows"))
    tall, wide = size if isinstance(size, Sequence) and len(size) == 2 else (0, 0)
    return say(
        "{usual}; of trainings of {epochs} epochs{pixels}, not of the final network's",
        usual=say("over {n:,} held-out rows of one training each, they say nothing of other seeds", n=rows)
        if rows
        else usual,
        epochs=whole(of["epochs"]),
        pixels=say(" on images of {tall} x {wide} pixels", tall=tall, wide=wide) if wide else "",
    )


def unexplained(record: Report) -> str:
    """The share of the variance over the search that no setting accounts for, as a sentence; nothing
    where it is small.
    """
    rest = 1 - sum(share for _, share in importances(record))
    return say(" {share} of its variance no setting explains.", share=percent(rest)) if rest >= 0.01 else ""


def percent(share: float) -> str:
    """``31 %``, ``0.4 %``.

    >>> percent(0.312), percent(0.004), percent(0.0)
    ('31 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.1f} %" if 5e-4 <= abs(share) < 0.01 else f"{100 * share:.0f} %"


def _interval(row: EffectRecord) -> Interval | None:
    if row.difference is None:
        return None
    both = row.low is not None and row.high is not None
    return Interval(row.difference, row.low, row.high) if both else Interval(row.difference, None, None)
