"""Networks of the final model's candidates that are trained on all rows but the test part, beside the folds'."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dashpot.core.threads import most
from dashpot.population.sizes import return_memory
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Say, TrainingBudget, Trial

SEEDS = 2
"""Of each candidate, trained at once."""
FIRST = 1000
"""The first of their seeds: above all that finalists are trained with."""
SLACK = 1.3
"""How many times as long as its pace says a training may take."""


def with_all_rows(
    task: Task,
    training: TrainingBudget,
    pool: np.ndarray,
    trials: Sequence[Trial],
    wanted: Sequence[int],
    *,
    pace: float,
    deadline: float | None,
    say: Say,
) -> list[Trial]:
    """The trials, where those that are ``wanted`` have further networks, which have seen every row of the pool.

    A network of five folds lacks a fifth of the rows. What is held out says how good the folds' networks are, and these
    are better: weights and temperature stay. Each is trained for as many epochs as was best on the folds.

    Args:
        wanted: their numbers, what counts most first.
        pace: seconds of a network for an epoch of a fold.
        deadline: ``time.monotonic()``; where not all seeds of a candidate would end before it, those that would are
            trained; what has not ended is left out.
    """
    found = {trial.number: trial for trial in reversed(trials) if trial.number >= 0}
    for trial in [found[number] for number in wanted if number in found]:
        epochs = _epochs(training, trial)
        left = math.inf if deadline is None else deadline - time.monotonic()
        fits = [k for k in range(1, SEEDS + 1) if _seconds(task, training, pool, trial, pace, k) <= left]
        if not fits:
            continue
        whole = replace(task, folds=[(pool, pool[:1])])
        fresh = [trial.untrained(FIRST + seed) for seed in range(max(fits))]
        own = replace(training, epochs=trial.planned or training.epochs)
        Race(whole, own, fresh, folds=[0], deadline=deadline, say=say).run(rungs=(), only=epochs)
        tensors = [one.tensors[0] for one in fresh if one.state == "complete" and one.epochs >= epochs]
        found[trial.number] = replace(trial, tensors=[*trial.tensors, *tensors])
        return_memory()
    return [trial if trial.repeat else found.get(trial.number, trial) for trial in trials]


def least_seconds(
    task: Task,
    training: TrainingBudget,
    pool: np.ndarray,
    trials: Sequence[Trial],
    wanted: Sequence[int],
    *,
    pace: float,
) -> float:
    """How long one network on all rows takes of each candidate that is wanted; see :func:`with_all_rows`."""
    found = {trial.number: trial for trial in trials if trial.number in wanted and trial.number >= 0}
    return sum(_seconds(task, training, pool, trial, pace, 1) for trial in found.values())


def _epochs(training: TrainingBudget, trial: Trial) -> int:
    return trial.best_epoch or trial.planned or training.epochs


def _seconds(task: Task, training: TrainingBudget, pool: np.ndarray, trial: Trial, pace: float, networks: int) -> float:
    """Of so many networks: of a pace with all threads at work, one alone takes as long as one in each thread."""
    threads = task.populations or most()
    together = threads * -(-networks // threads)
    return SLACK * pace * len(pool) / max(len(task.folds[0][0]), 1) * _epochs(training, trial) * together
