"""Races are no larger than memory allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dashpot.search.racing import memory, networks
from dashpot.search.racing.budget import Pace, fit_budget
from dashpot.search.racing.trial import Trial
from tests.search.helpers import TRAINING, candidate, small_task


def test_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(small_task(), make=lambda net: torch.nn.Linear(int(net["width"]), 10, bias=False))
    monkeypatch.setattr(memory, "free", lambda device: 2e6)
    some = [candidate(width=100), candidate(width=250), candidate(width=50)]
    # By hand: the largest has 2,500 weights of 4 bytes; a member holds 24 times as much; half of what is free is 1 MB.
    assert memory.most_members(task, some) == 4
    assert memory.most_members(task, some[:1], processes=2) == 5
    assert memory.most_members(task, [candidate(width=100_000)]) == 1


def test_a_course_for_little_memory() -> None:
    def shape(members: int | None, **given: Any) -> tuple[int, int]:
        training = fit_budget(1000, 5, Pace(1e-6), None, members=members, **given)
        return training.parallel, training.folds

    assert shape(None) == shape(80) == (16, 5)
    assert shape(79) == (15, 5)
    assert shape(40) == (8, 5)
    assert shape(24) == (8, 3)
    assert shape(6) == (6, 1)
    assert shape(1) == (4, 1), "less is no race"


@pytest.mark.parametrize(
    ("modality", "populations", "folds", "sizes"),
    [
        (None, 2, 1, [5]),
        ("image", 2, 1, [2, 2, 1]),
        ("image", 2, 2, [1, 1, 1, 1, 1]),
        ("image", 2, 3, [2, 2, 1]),  # three folds of one would leave a thread idle for a third of the time
        ("image", 4, 3, [4, 1]),
        ("text", 4, 2, [2, 2, 1]),
        ("text", 1, 3, [1, 1, 1, 1, 1]),
    ],
)
def test_networks_that_gain_nothing_together_are_trained_one_after_another(
    monkeypatch: pytest.MonkeyPatch, modality: str | None, populations: int, folds: int, sizes: list[int]
) -> None:
    found = []

    class Fake:
        def __init__(self, task: object, training: object, trials: list[Trial], **options: object) -> None:
            found.append(len(trials))

        def run(self, rungs: object) -> None:
            assert rungs == ()

    monkeypatch.setattr(networks, "Race", Fake)
    task = replace(small_task(), modality=modality, populations=populations)
    trials = [Trial(i, candidate()) for i in range(5)]
    options: dict[str, Any] = {"deadline": None, "say": lambda *args: None}
    networks.in_groups(task, TRAINING, trials, folds=range(folds), **options)
    assert found == sizes
