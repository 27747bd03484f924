"""The plan of a race: after which epochs what happens, what that costs, and how many epochs fit before a deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dashpot.search.racing.trial import ETA, HALVING, HYPERBAND, POPULATION, TrainingBudget, default_rungs

EVALUATIONS = 12
"""Evaluations between the rungs, for the figure; they prune nothing."""
EIGHTHS = 8
"""A population exchanges after each eighth of the epochs."""


def rungs_for(training: TrainingBudget, epochs: int) -> tuple[int, ...]:
    """The rungs of a race that is planned for so many epochs: its training budget's own plan, or a shorter one.

    >>> kinds = (("halving", 0), ("hyperband", 1), ("none", 0))
    >>> [rungs_for(TrainingBudget(27, 32, (), 3, 8, schedule, bracket), 27) for schedule, bracket in kinds]
    [(3, 9), (9,), ()]
    """
    return default_rungs(epochs)[training.bracket :] if training.schedule in (HALVING, HYPERBAND) else ()


def exchanges(epochs: int) -> tuple[int, ...]:
    """After which epochs a population exchanges: after each eighth but the last.

    >>> exchanges(40), exchanges(3)
    ((5, 10, 15, 20, 25, 30, 35), (1, 2))
    """
    return tuple(sorted({round(k * epochs / EIGHTHS) for k in range(1, EIGHTHS)} - {0, epochs}))


def member_epochs(parallel: int, protected: int, folds: int, epochs: int, rungs: Sequence[int] | None = None) -> float:
    """Epochs that all members of a race take together.

    Args:
        protected: of the parallel trials those that are never pruned.
        rungs: of halving, by default.
    """
    total, alive, before = 0.0, parallel, 0
    for rung in (*(default_rungs(epochs) if rungs is None else rungs), epochs):
        total += alive * (rung - before)
        before = rung
        alive = min(alive, protected + math.ceil(max(alive - protected, 0) / ETA))
    return total * folds


def evaluations(training: TrainingBudget, epochs: int, stops: set[int]) -> set[int]:
    """After which epochs trials are scored: at ``stops``, at the rungs of any race of so many epochs, at exchanges, and
    in between.

    The same with and without rungs: the best of them is kept, and training again must give the same.
    """
    at = exchanges(epochs) if training.schedule == POPULATION else ()
    between = {max(1, round(epochs * k / EVALUATIONS)) for k in range(1, EVALUATIONS + 1)}
    return stops | set(default_rungs(epochs)) | set(at) | between


def fitting(
    training: TrainingBudget,
    planned: int,
    done: int,
    *,
    left: float,
    pace: float,
    running: int,
    protected: int,
    folds: int,
) -> int:
    """For how many epochs a race can be planned at most, so that it ends in time; never for more than were ``planned``,
    and never for so few that the learning rate, which is flat for half of them, would have fallen already.

    Args:
        done: the epochs that are done; less than half of those planned.
        left: seconds.
        pace: seconds of a member for an epoch.
        running, protected, folds: how many trials run, how many of all are never pruned, on how many folds.
    """
    epochs = planned
    for epochs in range(planned, max(2 * done + 1, done + 2) - 1, -1):
        rungs = [rung - done for rung in rungs_for(training, epochs) if rung > done]
        if pace * member_epochs(running, protected, folds, epochs - done, rungs) <= left:
            break
    return epochs
