"""Networks of the final model that are trained on all rows of the pool."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dashpot.core.recipe import Recipe
from dashpot.evaluation.metrics import METRICS
from dashpot.search.outcome import all_rows, ensemble
from dashpot.search.outcome.all_rows import SEEDS, least_seconds, with_all_rows
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.space.space import Candidate

POOL = np.arange(40)
TRAINING = TrainingBudget(4, 8, (), 2, 2)


@pytest.fixture
def task() -> Task:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=g)
    folds = [(POOL[:20], POOL[20:]), (POOL[20:], POOL[:20])]
    y = (x[:, 0] > 0).long()
    return Task(
        x, y, folds, lambda options: torch.nn.Linear(3, 2), METRICS["accuracy"], 2, 0, modality="text", stack=False
    )


@pytest.fixture
def trials(task: Task) -> list[Trial]:
    made = [Trial(number, Candidate(Recipe(()), lr, {}, {"lr": lr})) for number, lr in enumerate((0.1, 0.03))]
    Race(task, TRAINING, made, folds=[0, 1]).run(rungs=())
    linear = Trial(-1, Candidate(Recipe(()), 0.0, {}, {}), "complete")
    linear.tensors, linear.outputs, linear.scores = made[0].tensors[:1], made[0].outputs, made[0].scores
    return [*made, linear]


def added(task: Task, trials: list[Trial], wanted: list[int], **options: Any) -> list[Trial]:
    return with_all_rows(
        task, TRAINING, POOL, trials, wanted, **{"pace": 1e-6, "deadline": None, "say": lambda *args: None, **options}
    )


def test_what_is_wanted_has_further_networks_and_keeps_what_was_held_out(task: Task, trials: list[Trial]) -> None:
    found = added(task, trials, [1, -1])
    assert [len(trial.tensors) for trial in found] == [2, 2 + SEEDS, 1]
    assert found[0] is trials[0]
    assert found[2] is trials[2]
    assert found[1].outputs is trials[1].outputs
    assert found[1].scores == trials[1].scores
    assert len(trials[1].tensors) == 2
    weights = [float(tensors["weight"].sum()) for tensors in found[1].tensors]
    assert len(set(weights)) == len(weights)
    made = ensemble.assemble(task, found, ensemble.Choice(found[0], found[0], ""), [0, 1], "finalists")
    assert made.network(task.x[:5]).shape == (5, 2)


def test_they_see_the_whole_pool_for_the_epochs_that_were_best(
    task: Task, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Spy(Race):
        def __init__(self, task: Task, training: TrainingBudget, trials: list[Trial], **options: Any) -> None:
            seen.append((task.folds[0][0].tolist(), [trial.repeat for trial in trials]))
            super().__init__(task, training, trials, **options)

        def run(self, rungs: Any = None, *, only: int | None = None) -> list[Trial]:
            seen.append((rungs, only))
            return super().run(rungs, only=only)

    monkeypatch.setattr(all_rows, "Race", Spy)
    trials[0].best_epoch = 3
    added(task, trials, [0])
    assert seen == [(POOL.tolist(), [1000, 1001]), ((), 3)]


@pytest.mark.parametrize(("threads", "more"), [(1, (0, 0, 1, 2)), (2, (0, 0, 0, 2))])
def test_what_the_time_does_not_allow_is_not_begun(
    task: Task, trials: list[Trial], threads: int, more: tuple[int, ...]
) -> None:
    # 1.3 x 1 s x 2 (twice the rows) x 4 epochs are 10.4 s for a network; one alone leaves the second thread idle.
    for trial in trials[:2]:
        trial.best_epoch = 4
    for left, networks in zip((-1.0, 9.0, 15.0, 60.0), more, strict=True):
        deadline = time.monotonic() + left
        found = added(replace(task, populations=threads), trials, [0], pace=1.0, deadline=deadline)
        assert len(found[0].tensors) == 2 + networks


def test_the_least_time_is_of_one_network_of_each(task: Task, trials: list[Trial]) -> None:
    trials[0].best_epoch, trials[1].best_epoch = 4, 1
    alone = replace(task, populations=1)
    for wanted, seconds in (([1, 0, -1], 10.4 + 2.6), ([0], 10.4), ([-1], 0.0)):
        assert least_seconds(alone, TRAINING, POOL, trials, wanted, pace=1.0) == pytest.approx(seconds)
