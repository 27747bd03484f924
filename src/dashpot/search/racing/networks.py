"""Trials with their networks on all folds: from files as far as this machine has them, or trained again to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dashpot.core.threads import most
from dashpot.data.kinds import KINDS
from dashpot.population.sizes import return_memory
from dashpot.search.racing import checkpoints
from dashpot.search.racing.memory import most_members
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Say, TrainingBudget, Trial


def with_networks(
    task: Task,
    training: TrainingBudget,
    folder: Path,
    trials: Sequence[Trial],
    *,
    folds: Sequence[int],
    deadline: float | None,
    say: Say,
) -> list[Trial]:
    """Trials with their networks and outputs on all ``folds``: from files as far as this machine has them, else
    trained (again), which gives the same.

    Where the time does not allow the rest, those that are whole are returned; if there are none, the trials on the
    folds that they have in common, at last those that are incomplete at the deadline, which are not saved.
    """
    loaded = [checkpoints.load(folder, r.number, r.candidate, r.repeat, r.lineage) or r.untrained() for r in trials]
    short: dict[tuple[int, int], list[Trial]] = {}
    for trial in loaded:
        if len(trial.tensors) < len(folds):
            short.setdefault((len(trial.tensors), trial.planned or training.epochs), []).append(trial)
    someone = any(len(trial.tensors) == len(folds) for trial in loaded)
    for (have, planned), group in short.items():
        fresh = [r.untrained() for r in group]
        in_groups(task, replace(training, epochs=planned), fresh, folds=list(folds)[have:], deadline=deadline, say=say)
        for old, new in zip(group, fresh, strict=True):
            cut = not new.through(planned)
            # One that is incomplete at the deadline would spoil the complete ones.
            if new.state != "complete" or (cut and (have or someone)):
                continue
            join(old, new, have)
            old.scores = task.scores(
                old.outputs, [task.folds[fold][1] for fold in folds]
            )  # one temperature for all of them
            if not cut:  # else it is trained again where there is more time
                checkpoints.save(folder, old)
    whole = [r for r in loaded if len(r.tensors) == len(folds)]
    if not whole:
        have = max((len(r.tensors) for r in loaded), default=0)
        whole = [r for r in loaded if len(r.tensors) == have and have]
    return sorted(whole, key=lambda r: r.score)


def join(old: Trial, new: Trial, have: int) -> None:
    """Add the folds of ``new`` to those that ``old`` has; each part keeps its own best epoch."""
    if not have:
        old.best_epoch, old.history, old.epochs, old.planned, old.ended = (
            new.best_epoch,
            new.history,
            new.epochs,
            new.planned,
            new.ended,
        )
    train = [
        s for s, n in ((old.train_score, have), (new.train_score, len(new.scores))) if s is not None for _ in range(n)
    ]
    old.scores, old.outputs, old.tensors = (
        [*old.scores, *new.scores],
        [*old.outputs, *new.outputs],
        [*old.tensors, *new.tensors],
    )
    old.train_score = sum(train) / len(train) if train else None
    old.state = "complete"


def in_groups(
    task: Task,
    training: TrainingBudget,
    trials: Sequence[Trial],
    *,
    folds: Sequence[int],
    deadline: float | None,
    say: Say,
) -> None:
    """Train trials to their end, without rungs, as many at once as memory holds on all ``folds``; where they gain
    nothing from being trained together, the fewest that keep all threads busy, so that a deadline cuts off only the
    last.
    """
    size = max(1, most_members(task, [r.candidate for r in trials]) // max(len(folds), 1))
    kind = KINDS.get(task.modality or "")
    if kind is not None and not kind.faster_together:
        threads = task.populations or most()
        size = min(size, threads // math.gcd(threads, len(folds) or 1))
    for at in range(0, len(trials), size):
        Race(task, training, trials[at : at + size], folds=folds, deadline=deadline, say=say).run(rungs=())
        return_memory()
