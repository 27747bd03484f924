"""From the record of a search to what its tables and figures say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.errors import DataError
from dashpot.evaluation.statistics import Interval, corrected_interval
from dashpot.report.style import METRICS

NAMES = METRICS


@dataclass(frozen=True)
class Candidate:
    """One candidate of a search, with None for every number that is missing or not finite.

    Attributes:
        number, name, recipe, params, state: as in the record.
        epochs, folds: how far it got.
        score, se: mean and standard error of the proper score over its folds; lower is better.
        metric, train: mean of the user's metric on held-out rows; the proper score on training rows.
        fold_scores: a score, or None, per fold.
        history: epochs and scores, in the order of the epochs, finite ones only.
        seconds: of training.
        roles: any of ``"chosen"``, ``"best"``, ``"plain"`` and ``"default"``.
        finalist: whether it was trained to the end, on as many folds as any.
        kept: the epoch whose networks were kept; 0 where that is not known.
    """

    number: int
    name: str
    recipe: str
    params: Mapping[str, Any]
    state: str
    epochs: int
    folds: int
    score: float | None
    se: float | None
    metric: float | None
    train: float | None
    fold_scores: tuple[float | None, ...]
    history: tuple[tuple[float, float], ...]
    seconds: float | None
    roles: tuple[str, ...] = ()
    finalist: bool = False
    kept: int = 0

    @property
    def label(self) -> str:
        """``#17``, or ``#17 chosen, best``."""
        return f"#{self.number} {', '.join(self.roles)}".strip()

    @property
    def ingredients(self) -> str:
        """Which techniques are on, or the recipe where the parameters do not say."""
        switches = {name: value for name, value in self.params.items() if isinstance(value, bool) and "." not in name}
        return " + ".join(name for name, on in switches.items() if on) or (
            "no technique" if switches or not self.recipe else self.recipe
        )


@dataclass(frozen=True)
class Contribution:
    """What an ingredient gained, measured by leaving it out of the chosen recipe and by adding it alone to plain; None
    where not measured.
    """

    ingredient: str
    left_out: Interval | None = None
    alone: Interval | None = None
    folds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """What the intervals say, in plain words: the one of leaving it out first."""
        left, alone = judge(self.left_out), judge(self.alone)
        if self.left_out is None:
            words = {"earned": "helps alone", "hurt": "hurts alone", "unclear": "no clear effect alone"}
            return words.get(alone, "not measured" if self.alone is None else "no interval")
        if left == "unclear":
            return "helps only alone" if alone == "earned" else "no clear effect"
        return {"earned": "earned its place", "hurt": "hurt"}.get(left, "no interval")


def judge(interval: Interval | None) -> str:
    """``"earned"``, ``"hurt"`` or ``"unclear"``, by the side of zero that the interval lies on; "" without an interval.

    >>> judge(Interval(0.2, 0.1, 0.3)), judge(Interval(0.2, -0.1, 0.5)), judge(Interval(-0.2, -0.3, -0.1)), judge(None)
    ('earned', 'unclear', 'hurt', '')
    """
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return "earned" if interval.low > 0 else "hurt" if interval.high < 0 else "unclear"


def finite(value: Any) -> float | None:
    """A number, or None for what is missing, no number, infinite or NaN.

    >>> finite(2), finite(None), finite(float("nan"))
    (2.0, None, None)
    """
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
    )


def pretty(name: str) -> str:
    """A score's name as people write it.

    >>> pretty("log_loss"), pretty("my_score")
    ('log loss', 'my score')
    """
    return NAMES.get(name, name.replace("_", " "))


def ranked(record: Mapping[str, Any]) -> list[Candidate]:
    """The candidates, best first: finalists by their score, then those with fewer folds, then pruned ones, then what
    has no score.

    A score over fewer folds or epochs is not comparable, and the lucky one of many such would head the list.

    Raises:
        DataError: the record lacks a key that no report can do without.
    """
    missing = [key for key in ("dataset", "task", "metric", "proper", "candidates") if key not in record]
    if missing:
        raise DataError(
            f"a tune record must have {', '.join(map(repr, missing))}, which this one lacks. Give the content of a"
            " tune.json."
        )
    rows = record["candidates"]
    most = max((_whole(row.get("folds")) for row in rows if row.get("state") == "complete"), default=0)
    found = [_candidate(row, record, most) for row in rows]
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


def _candidate(row: Mapping[str, Any], record: Mapping[str, Any], most: int) -> Candidate:
    number, name = _whole(row.get("number")), str(row.get("name") or "")
    roles = [role for role in ("chosen", "best", "plain") if record.get(role) is not None and record[role] == number]
    roles += [name] if name and name not in roles else []
    history = [(finite(epoch), finite(score)) for epoch, score in row.get("history") or ()]
    score = finite(row.get("score"))
    return Candidate(
        number=number,
        name=name,
        recipe=str(row.get("recipe") or ""),
        params=row.get("params") or {},
        state=str(row.get("state") or ""),
        epochs=_whole(row.get("epochs")),
        folds=_whole(row.get("folds")),
        score=score,
        se=finite(row.get("se")),
        metric=finite(row.get("metric_score")),
        train=finite(row.get("train_score")),
        fold_scores=tuple(finite(value) for value in row.get("fold_scores") or ()),
        history=tuple(sorted((epoch, value) for epoch, value in history if epoch is not None and value is not None)),
        seconds=finite(row.get("seconds")),
        roles=tuple(roles),
        finalist=row.get("state") == "complete" and score is not None and _whole(row.get("folds")) == most,
        kept=_whole(row.get("best_epoch")),
    )


def by_role(candidates: Iterable[Candidate], role: str) -> Candidate | None:
    """The candidate with that role, if there is one."""
    return next((candidate for candidate in candidates if role in candidate.roles), None)


def contributions(record: Mapping[str, Any]) -> list[Contribution]:
    """One for each ingredient, those that gained most first; ingredients that were only tried alone come last."""
    found: dict[str, dict[str, Any]] = {}
    for row in record.get("contributions") or ():
        slot = "alone" if row.get("kind") == "alone" else "left_out"
        entry = found.setdefault(str(row.get("ingredient") or ""), {"folds": {}})
        entry[slot] = _interval(row)
        entry["folds"][slot] = tuple(value for value in map(finite, row.get("folds") or ()) if value is not None)
    rows = [Contribution(name, **entry) for name, entry in found.items()]
    return sorted(
        rows,
        key=lambda c: (
            c.left_out is None,
            c.alone is None,
            -(c.left_out or c.alone or Interval(0.0, None, None)).mean,
            c.ingredient,
        ),
    )


def interactions(record: Mapping[str, Any]) -> list[tuple[str, Interval]]:
    """Pairs of ingredients and what they gain together beyond the sum of both, the strongest first; pairs without a
    number are left out.
    """
    found = [(" + ".join(map(str, row.get("pair") or ())), _interval(row)) for row in record.get("interactions") or ()]
    return sorted(
        ((name, interval) for name, interval in found if interval is not None), key=lambda pair: -abs(pair[1].mean)
    )


def importances(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The settings and their shares of the variance over the search, the largest first."""
    found = [(str(name), finite(share)) for name, share in (record.get("importance") or {}).items()]
    return sorted(((name, share) for name, share in found if share is not None), key=lambda pair: (-pair[1], pair[0]))


def paired(better: Candidate | None, other: Candidate | None) -> Interval | None:
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


def digits_of(candidates: Sequence[Candidate]) -> int:
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


def unexplained(record: Mapping[str, Any]) -> str:
    """The share of the variance over the search that no setting accounts for, as a sentence; nothing
    where it is small.
    """
    rest = 1 - sum(share for _, share in importances(record))
    return f" {percent(rest)} of its variance no setting explains." if rest >= 0.01 else ""


def percent(share: float) -> str:
    """``31 %``, ``0.4 %``.

    >>> percent(0.312), percent(0.004), percent(0.0)
    ('31 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.1f} %" if 5e-4 <= abs(share) < 0.01 else f"{100 * share:.0f} %"


def _interval(row: Mapping[str, Any]) -> Interval | None:
    mean, low, high = (finite(row.get(key)) for key in ("difference", "low", "high"))
    if mean is None:
        return None
    return Interval(mean, low, high) if low is not None and high is not None else Interval(mean, None, None)


def _whole(value: Any) -> int:
    return int(finite(value) or 0)
