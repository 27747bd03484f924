"""What ``dashpot tune`` says of its races before they start."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dashpot.cli.tune_progress import Live
from dashpot.search.racing.trial import TrainingBudget


@dataclass(frozen=True)
class Asked:
    trials: int | None
    budget: float | None = None


@pytest.mark.parametrize(("trials", "raced"), [(8, 8), (16, 16), (40, 16), (None, 16)])
def test_no_race_has_more_candidates_than_were_asked_for(
    trials: int | None, raced: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Live(Asked(trials), lambda: None).training(TrainingBudget(9, 32, (1, 3), 3, 16))
    assert capsys.readouterr().err.startswith(f"races of {raced} candidates on 3 folds at once: 9 epochs, ")
