"""Networks that gain nothing together train in groups that keep all threads busy, and no larger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dashpot.search.racing import networks
from dashpot.search.racing.trial import Trial
from tests.search.helpers import TRAINING, candidate, small_task


@pytest.mark.parametrize(
    ("populations", "folds", "sizes"),
    [(2, 1, [2, 2, 1]), (2, 2, [1] * 5), (2, 3, [2, 2, 1]), (4, 2, [2, 2, 1]), (1, 3, [1] * 5), (3, 4, [3, 2])],
)
def test_groups(monkeypatch: pytest.MonkeyPatch, populations: int, folds: int, sizes: list[int]) -> None:
    seen: list[int] = []

    class Counted:
        def __init__(self, task: Any, training: Any, trials: list[Trial], **options: Any) -> None:
            seen.append(len(trials))

        def run(self, **options: Any) -> None:
            pass

    monkeypatch.setattr(networks, "Race", Counted)
    task = replace(small_task(), populations=populations, modality="text")
    trials = [Trial(i, candidate()) for i in range(5)]
    networks.in_groups(task, TRAINING, trials, folds=range(folds), deadline=None, say=lambda *args: None)
    assert seen == sizes
