"""The contribution of each technique of the winner: left out, alone, and in pairs, on the same folds and seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from dashpot.search.outcome.gains import FOLDS, Over
from dashpot.search.racing.networks import in_groups
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Say, Stage, TrainingBudget, Trial
from dashpot.search.space.space import Candidate, Space

if TYPE_CHECKING:
    from dashpot.search.storage.study import Store

STRONGEST = 4
"""Techniques whose pairs are measured at most."""
WHOLE, NONE = "whole", "none"


@dataclass(frozen=True)
class Effects:
    """For the report, gains in the proper score with intervals.

    Attributes:
        contributions: of single techniques, left out of the winner and alone.
        interactions: what pairs gain in the winner beyond the sum of what each of the two gains there.
    """

    contributions: list[dict[str, Any]] = field(default_factory=list)
    interactions: list[dict[str, Any]] = field(default_factory=list)


def arms(space: Space, chosen: Candidate) -> dict[str, Candidate]:
    """The trainings that measure the contribution of each technique, by name; ``"none"`` is the chosen network with no
    technique.
    """
    on = [part.name for part in space.techniques if chosen.params.get(part.name)]
    found: dict[str, Candidate] = {f"without {name}": space.without(chosen, name) for name in on}
    if len(on) > 1:
        found |= {f"only {name}": space.alone(chosen, name) for name in on}
        found[NONE] = without_all(space, chosen, on)
    return found


def arm(space: Space, name: str, candidate: Candidate) -> Candidate:
    """One of the :func:`arms`."""
    return arms(space, candidate)[name]


def without_all(space: Space, candidate: Candidate, names: Sequence[str]) -> Candidate:
    """The same candidate with several techniques off."""
    for name in names:
        candidate = space.without(candidate, name)
    return candidate


def staged(winner: Trial, change: Callable[[Candidate], Candidate]) -> Trial:
    """The winner with a change, untrained and with the same seed; where its strengths changed while it trained, each of
    its stages has the change.
    """
    lineage = [Stage(stage.epoch, change(stage.candidate)) for stage in winner.lineage]
    return Trial(-1, change(winner.candidate), repeat=winner.repeat, lineage=lineage)


def measure(
    task: Task,
    training: TrainingBudget,
    space: Space,
    chosen: Trial,
    folds: Sequence[int],
    *,
    deadline: float | None,
    seconds_per_member: float,
    say: Say,
    note: Callable[[str], None],
    over: Over = FOLDS,
) -> Effects:
    """Contributions and interactions. What the time does not allow is left out, with a note.

    Args:
        chosen: its scores and its seed are those that the others are compared with.
        seconds_per_member: what one member took for all epochs in the race.
        over: the folds, or the rows of the only one.
    """
    wanted = {name: staged(chosen, partial(arm, space, name)) for name in arms(space, chosen.candidate)}
    if not wanted:
        return Effects()
    if not chosen.through(
        training.epochs
    ):  # the time ended while it was in its race; the others would train for longer
        wanted = {WHOLE: staged(chosen, lambda c: c), **wanted}
    if not _fits(len(wanted), folds, seconds_per_member, deadline):
        wanted = {name: r for name, r in wanted.items() if name == WHOLE or name.startswith("without")}
        # On the rows of one fold they are trained one after another: those that the time allows are measured.
        if not _fits(len(wanted) if over is FOLDS else 1, folds, seconds_per_member, deadline):
            note(
                "the budget left no time to measure the contribution of each technique; give more, or --trials instead"
                " of --budget."
            )
            return Effects()
        note("the budget left no time to train each technique alone: only what leaving it out costs was measured.")
    started = time.monotonic()
    found, cut = _trained(task, training, wanted, folds, deadline, say)
    scores = {name: over.scores(trial) for name, trial in found.items()}
    if cut:
        note(
            "the time ended before the contribution of each technique was measured; those without complete training"
            " are left out."
        )
    pace = (time.monotonic() - started) / len(wanted) / max(len(folds), 1)
    if chosen.through(training.epochs):
        scores[WHOLE] = over.scores(chosen)
    rows = contributions(scores, over)
    pairs = strongest_pairs(rows)
    ends = {pair: staged(chosen, partial(without_all, space, names=pair)) for pair in pairs}
    on = sum(name.startswith("without") for name in wanted)
    if on == 2 and NONE in scores:  # without both is without any
        both = dict.fromkeys(pairs, scores[NONE])
    elif pairs and not cut and _fits(len(pairs), folds, pace, deadline):
        both = {pair: over.scores(r) for pair, r in _trained(task, training, ends, folds, deadline, say)[0].items()}
    else:
        both = {}
    return Effects(rows, interactions(scores, both, over))


def remember(store: Store, chosen: Trial, folds: Sequence[int], found: Effects) -> None:
    """Keep what was measured: a search that is killed while it writes its report need not measure again."""
    if found.contributions:
        store.set(
            "effects",
            {"of": _mark(chosen, folds), "contributions": found.contributions, "interactions": found.interactions},
        )


def remembered(store: Store, chosen: Trial, folds: Sequence[int]) -> Effects | None:
    """What was measured before, for this candidate."""
    kept = store.get("effects")
    return (
        None
        if kept is None or kept["of"] != _mark(chosen, folds)
        else Effects(kept["contributions"], kept["interactions"])
    )


def _mark(chosen: Trial, folds: Sequence[int]) -> list[Any]:
    return [chosen.number, chosen.repeat, list(folds), chosen.epochs]


def contributions(scores: Mapping[str, np.ndarray], over: Over = FOLDS) -> list[dict[str, Any]]:
    """Gains of single techniques from the scores, on each fold or row, of :func:`arms` and of the whole winner; low
    scores are good, and high gains.
    """
    found = []
    for name, own in scores.items():
        kind, _, technique = name.partition(" ")
        if kind == "without" and WHOLE in scores:
            found.append({"technique": technique, "kind": "left out", **over.interval(own - scores[WHOLE])})
        elif kind == "only" and NONE in scores:
            found.append({"technique": technique, "kind": "alone", **over.interval(scores[NONE] - own)})
    return found


def strongest_pairs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """All pairs of the techniques that matter most when left out, in either direction."""
    left_out = sorted((row for row in rows if row["kind"] == "left out"), key=lambda row: -abs(row["difference"]))
    return list(combinations([row["technique"] for row in left_out[:STRONGEST]], 2))


def interactions(
    scores: Mapping[str, np.ndarray], both: Mapping[tuple[str, str], np.ndarray], over: Over = FOLDS
) -> list[dict[str, Any]]:
    """What pairs gain beyond the sum of both single gains, from the scores without each and without both; negative:
    they do in part the same.
    """
    found = []
    for (a, b), without in both.items():
        single = [scores[f"without {name}"] - scores[WHOLE] for name in (a, b)]
        found.append({"pair": [a, b], **over.interval(without - scores[WHOLE] - single[0] - single[1])})
    return found


def _fits(count: int, folds: Sequence[int], seconds: float, deadline: float | None) -> bool:
    return deadline is None or 1.1 * seconds * len(folds) * count <= deadline - time.monotonic()


def _trained(
    task: Task,
    training: TrainingBudget,
    wanted: Mapping[Any, Trial],
    folds: Sequence[int],
    deadline: float | None,
    say: Say,
) -> tuple[dict[Any, Trial], bool]:
    """Those that were trained to the end, with finite scores, and whether the time ended before: an arm that
    was cut off would look bad for it.
    """
    trials = [replace(trial, number=-1 - i) for i, trial in enumerate(wanted.values())]
    in_groups(task, training, trials, folds=folds, deadline=deadline, say=say)
    whole = {
        name: r for name, r in zip(wanted, trials, strict=True) if r.state == "complete" and r.through(training.epochs)
    }
    cut = any(r.state != "failed" and not r.through(training.epochs) for r in trials)
    return {name: r for name, r in whole.items() if np.isfinite(r.scores).all()}, cut
