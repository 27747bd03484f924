"""Contributions in tests: a space, a winner that is trained on it, and what its techniques gained."""

from __future__ import annotations

from typing import Any

from dashpot.search.outcome import ablation
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import FOLDS, race

EVERY = list(range(FOLDS))
TRAINING = TrainingBudget(30, 16, (), FOLDS, 4)


def space_of(*techniques: Any) -> Space:
    return Space(technique_spaces(techniques), lr=Numeric(1e-4, 1.0, log=True), net=None, lr_default=2e-2)


def run(
    task: Task, space: Space, chosen: Candidate, training: TrainingBudget = TRAINING, **options: Any
) -> tuple[Trial, ablation.Effects, list[str]]:
    notes: list[str] = []
    folds = options.pop("folds", EVERY)
    winner = race(task, [chosen], training, folds=folds, rungs=())[0]
    settings: dict[str, Any] = {
        "deadline": None,
        "seconds_per_member": 0.0,
        "say": lambda *args: None,
        "note": notes.append,
        **options,
    }
    return winner, ablation.measure(task, training, space, winner, folds, **settings), notes


def by_name(found: ablation.Effects) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["technique"], row["kind"]): row for row in found.contributions}
