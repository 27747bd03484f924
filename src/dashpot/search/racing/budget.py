"""The training budget: epochs, folds and parallel trials, by the measured pace of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.population.population import Population
from dashpot.search.racing.executor import reason
from dashpot.search.racing.planning import member_epochs, rungs_for
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import HALVING, TrainingBudget, task_schedule
from dashpot.search.space.space import Candidate
from dashpot.training.defaults import FEWEST_EPOCHS, STEPS, batch_size_for, epochs_for

PARALLEL, LEAST_PARALLEL = 16, 4
FOR_MEMORY = (("parallel", 8, 1), ("folds", 1, 1), ("parallel", LEAST_PARALLEL, 1))
FOR_THREE = (("parallel", 12, 1), ("epochs", 40, None), ("folds", 3, 1))
FOR_ONE = (
    *(("parallel", 8, 2), ("epochs", 20, None), ("folds", 1, 1)),
    *(("parallel", LEAST_PARALLEL, 2), ("epochs", FEWEST_EPOCHS, None)),
)
"""What shrinks to what, in this order, in steps of how many (None: a sixth), until members fit into memory, and three
races and one into the budget.
"""
Steps = Sequence[tuple[str, int, int | None]]
SAMPLED_ROWS, SAMPLED_FOLDS = 4000, 2
FEW_ROWS, SAMPLED_SECONDS = 256, 3.0
RACE, RACE_ONLY = 0.5, 0.76
"""The share of a budget for the race, with and without explaining the winner afterwards; the rest is for the finals and
the report.
"""
RACE_MOST, AFTER = 0.82, 0.9
"""The share where all that comes after the race is quick, and that of the budget by which it must have ended."""
REPORT, LARGEST = 9.0, 0.25
"""Seconds that scores, reference models, figures and the page take, also of a short budget, and the share that they may
have.
"""
LATER, EXPLAINED = 7, 15
"""Candidates that are trained on all folds after the race, roughly: second seeds and those of the final model; and to
explain a winner of four techniques.
"""


@dataclass(frozen=True)
class Pace:
    """The measured pace: seconds of one member for one epoch, in a full stack."""

    seconds: float


def pace(task: Task, candidates: Sequence[Candidate], batch_size: int) -> Pace:
    """Train some candidates on at most two folds and 4,000 rows for a moment, and time it; a long epoch is as many such
    as it has rows.

    Where even that would take seconds, as with convolutional networks, a few hundred rows tell enough.
    """
    try:
        return _pace(task, candidates, batch_size)
    except Exception:  # a candidate that cannot be trained fails in its race, and must not end the search here
        errors = [_error(task, candidate, batch_size) for candidate in candidates]
        fine = [candidate for candidate, error in zip(candidates, errors, strict=True) if error is None]
        if not fine:
            why = next(error for error in errors if error is not None)
            raise ConfigError("space", "one in which some candidate trains", reason(why)) from why
        return _pace(task, fine if len(fine) < len(candidates) else fine[:1], batch_size)


def _error(task: Task, candidate: Candidate, batch_size: int) -> Exception | None:
    try:
        _epoch(task, [candidate], batch_size, 2 * batch_size)
    except Exception as error:  # whatever a technique of another package raises; the race tells it
        return error
    return None


def _pace(task: Task, candidates: Sequence[Candidate], batch_size: int) -> Pace:
    longest = max(len(train) for train, _ in task.folds[:SAMPLED_FOLDS])
    rows, few = min(longest, SAMPLED_ROWS), max(FEW_ROWS, 2 * batch_size)
    if rows > few:
        quick = _epoch(task, candidates, batch_size, few)
        if quick * len(candidates) * SAMPLED_FOLDS * rows / few > SAMPLED_SECONDS:
            return Pace(quick * longest / few)
    return Pace(_epoch(task, candidates, batch_size, rows) * longest / rows)


def _epoch(task: Task, candidates: Sequence[Candidate], batch_size: int, rows: int) -> float:
    """Seconds of a member for an epoch of so many rows and an evaluation; the first epoch is not counted, as it builds
    kernels and warms caches.
    """
    folds = range(min(SAMPLED_FOLDS, len(task.folds)))
    members = [task.member(c, fold) for c in candidates for fold in folds]
    members = [replace(m, rows=m.rows[:rows]) for m in members]
    # As many as a fold of so many rows would evaluate.
    valid = {
        n: task.folds[fold][1][: max(1, rows * len(task.folds[fold][1]) // len(task.folds[fold][0]))]
        for n, fold in enumerate([*folds] * len(candidates))
    }
    population = Population(
        members,
        [(task.x, task.y)],
        epochs=100,
        batch_size=batch_size,
        schedule=task_schedule,
        loss=task.loss,
        device=task.device,
        bfloat16=task.bfloat16,
        stack=task.stack,
        cache=task.known,
        modality=task.modality,
        weight=task.weight,
    )
    population.train(1)
    started, last = time.perf_counter(), 0.0
    rounds = 0
    while rounds < 3 and time.perf_counter() - started < 1.0:
        before = time.perf_counter()
        population.train(1)
        population.outputs({n: valid[n] for n in population.alive})
        rounds += 1
        last = time.perf_counter() - before
    return last / max(len(population.alive), 1)


def fit_budget(
    rows: int,
    cv: int,
    pace: Pace,
    budget: float | None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    race: float = RACE,
    spent: float = 0.0,
    schedule: str = HALVING,
    members: int | None = None,
    last: Steps = (),
    bracket: int = 0,
    steps: int | None = None,
    longest: int | None = None,
    parallel: int = PARALLEL,
    most: float | None = None,
    left: float | None = None,
) -> TrainingBudget:
    """The longest training budget of which at least one race fits into its share of the budget.

    So that three races fit, parallel trials shrink to 12, epochs to 40, and folds to 3 (finalists still run on all).
    So that one fits, parallel trials shrink to 8, epochs to 20, folds to 1, parallel trials to 4, and epochs to 10.
    Epochs that were asked for stay.

    Args:
        spent: seconds that are gone already.
        members: how many fit into memory at once; parallel trials shrink to 8, then folds to 1, then parallel trials
            to 4.
        last: what may shrink further where not even one race fits.
        bracket: rungs that are left out, the first ones.
        steps: of the longest training; None: as usual.
        longest: epochs at most, where none were asked for.
        parallel: trials of a race at most.
        most: the share that the smallest race may take; None: ``race``.
        left: the share of what setting up leaves, where ``race`` is found by it.

    Raises:
        ConfigError: not even the smallest race fits; it says what would.
    """
    batch = batch_size or batch_size_for(rows)
    fixed = ("epochs",) if epochs is not None else ()
    usual = epochs_for(rows, batch, steps=steps or STEPS)
    most_epochs = epochs or min(usual, longest or usual)
    training = TrainingBudget(most_epochs, batch, (), cv, parallel, schedule, bracket)

    def cost() -> float:
        return seconds_of(training, pace)

    while members is not None and training.parallel * training.folds > members:
        if (smaller := _smaller(training, FOR_MEMORY, fixed)) is None:
            break
        training = smaller
    if budget is not None:
        share = race * budget - spent
        # Several races are better than one: a sampler learns from the first. Up to here that is cheap.
        while cost() > share / 3 and (smaller := _smaller(training, FOR_THREE, fixed)) is not None:
            training = smaller
        while cost() > share:
            if (smaller := _smaller(training, (*FOR_ONE, *last), fixed)) is None:
                if cost() <= (most or race) * budget - spent:
                    break
                needed = (cost() + spent) / (most or race) if left is None else spent + cost() / left
                raise _too_short(training, pace, budget, cost(), needed, spent)
            training = smaller
    return replace(training, rungs=rungs_for(training, training.epochs))


def seconds_of(training: TrainingBudget, pace: Pace) -> float:
    """What one race takes."""
    plan = rungs_for(training, training.epochs)
    return member_epochs(training.parallel, 2, training.folds, training.epochs, plan) * pace.seconds


def _smaller(training: TrainingBudget, steps: Steps, fixed: Sequence[str]) -> TrainingBudget | None:
    """The training budget after the first of the steps that is still to be had; None where there is none."""
    for name, least, by in steps:
        value = getattr(training, name)
        if value > least and name not in fixed:
            less = max(least, int(value / 1.2)) if by is None else value - by
            change: dict[str, Any] = {name: less}
            return replace(training, **change)
    return None


def _too_short(
    training: TrainingBudget, pace: Pace, budget: float, cost: float, needed: float, spent: float
) -> ConfigError:
    """What the smallest race takes."""
    first = (*rungs_for(training, training.epochs), training.epochs)[0]
    rung = training.parallel * training.folds * first * pace.seconds
    return ConfigError(
        "budget",
        f"at least {math.ceil(needed)} s: after {spent:.1f} s for setting up, the smallest race, {training.parallel}"
        f" candidates on {training.folds} fold for {training.epochs} epochs, takes {_seconds(cost)}, its first rung"
        f" {_seconds(rung)}",
        f"{budget:g} s",
        "Give more time, or fewer rows.",
    )


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value:.2g} s"


def race_share(
    training: TrainingBudget, pace: Pace, cv: int, budget: float, *, least: float, explain: bool, finalists: int
) -> float:
    """The share of the budget for the race: at least ``least``, and what the rest will not need by the measured pace.

    On a small table the finals and the explanation are quick, and would leave a third of the time unused.
    """
    members = finalists * (cv - training.folds) + (LATER + EXPLAINED * explain) * cv
    # Few members in a stack are slower than many.
    after = 1.3 * pace.seconds * training.epochs * members
    return max(least, min(RACE_MOST, 1 - (behind(budget, AFTER) + after) / budget))


def behind(budget: float, end: float) -> float:
    """Seconds that are kept for the report: what comes after this share of the budget, and more of a short one.

    >>> [round(behind(budget, 0.9), 6) for budget in (600.0, 60.0, 20.0)]
    [60.0, 9.0, 5.0]
    """
    return max((1 - end) * budget, min(REPORT, LARGEST * budget))


def to_dict(training: TrainingBudget) -> dict[str, Any]:
    """Plain JSON, for the storage."""
    return {**asdict(training), "rungs": list(training.rungs)}


def from_dict(data: dict[str, Any]) -> TrainingBudget:
    """The inverse of :func:`to_dict`."""
    return TrainingBudget(**{**data, "rungs": tuple(data["rungs"])})
