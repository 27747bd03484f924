"""What the race of a kind of data is planned with."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dashpot.core.errors import ConfigError
from dashpot.evaluation.metrics import METRICS
from dashpot.search import images, texts
from dashpot.search.config import SearchConfig
from dashpot.search.race_plan import prolonged, race_plan
from dashpot.search.racing.budget import Pace, fit_budget
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget

ROWS = np.arange(4)
TASK = Task(
    torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]), [(ROWS, ROWS)] * 5, torch.nn.Identity, METRICS["accuracy"], 2, 0
)
CONFIG = SearchConfig(budget=100.0)


def test_tables_are_raced_on_all_folds_for_their_share_and_more() -> None:
    plan = race_plan(replace(TASK, modality="table"), CONFIG, 10.0, apart=False)
    assert (plan.folds, plan.kept, plan.bracket, plan.steps) == (5, False, 0, None)
    assert plan.share == pytest.approx(CONFIG.race + (1 - CONFIG.race) * 0.1)
    late = race_plan(replace(TASK, modality="table"), CONFIG, 60.0, apart=False)  # a race of 10 s has room, still
    assert fit_budget(400, 5, Pace(0.01), 100.0, batch_size=64, race=late.share, spent=60.0).parallel >= 4
    with pytest.raises(ConfigError, match=r"at least \d+ s") as caught:  # which is true, as its share is then another
        fit_budget(400, 5, Pace(1.0), 100.0, batch_size=64, race=late.share, spent=60.0, left=late.left)
    needed = float(re.findall(r"at least (\d+) s", str(caught.value))[0])
    plan = race_plan(replace(TASK, modality="table"), replace(CONFIG, budget=needed), 60.0, apart=False)
    fit_budget(400, 5, Pace(1.0), needed, batch_size=64, race=plan.share, spent=60.0, left=plan.left)
    endless = race_plan(replace(TASK, modality="table"), replace(CONFIG, budget=None), 10.0, apart=False)
    assert endless.share == CONFIG.race


def test_images_are_raced_on_one_fold() -> None:
    plan = race_plan(replace(TASK, modality="image"), CONFIG, 10.0, apart=True)
    assert (plan.folds, plan.kept, plan.last) == (1, True, images.LAST)
    assert plan.share == pytest.approx(0.25 + 0.75 * 0.1)


def test_texts_are_raced_on_one_fold_for_their_own_steps_and_none_is_pruned() -> None:
    plan = race_plan(replace(TASK, modality="text"), CONFIG, 10.0, apart=False)
    assert (plan.folds, plan.kept, plan.last, plan.bracket) == (1, True, texts.LAST, 2)
    assert plan.share == pytest.approx(texts.RACE + (1 - texts.RACE) * 0.1)
    # 800 steps of 64 in 4,000 rows are 12.8 epochs; of a table it would be 3,000 steps.
    training = fit_budget(4000, 1, Pace(1e-9), 100.0, batch_size=64, steps=plan.steps, bracket=plan.bracket)
    assert (training.epochs, training.rungs) == (13, ())
    assert plan.longest == texts.longest(len(TASK.folds[0][0]))
    many = fit_budget(4000, 1, Pace(1e-9), 100.0, batch_size=64, bracket=plan.bracket, parallel=plan.parallel)
    assert (training.parallel, many.parallel) == (16, 4)
    for epochs, asked in ((6, None), (9, 9)):
        own = {"batch_size": 64, "steps": plan.steps, "longest": texts.longest(4000)}
        assert fit_budget(4000, 1, Pace(1e-9), 100.0, epochs=asked, **own).epochs == epochs
    assert fit_budget(4000, 1, Pace(1e-9), 100.0, batch_size=64).epochs == 48
    hyperband = race_plan(replace(TASK, modality="text"), replace(CONFIG, schedule="hyperband"), 0.0, apart=False)
    assert hyperband.bracket == 0


class Kept:
    """What a study keeps."""

    def __init__(self, **held: float) -> None:
        self.held, self.states = held, list[bool]()

    def trials(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(state=SimpleNamespace(is_finished=lambda done=done: done)) for done in self.states]

    def get(self, key: str) -> float | None:
        return self.held.get(key)

    def set(self, key: str, value: float) -> None:
        self.held[key] = value


@pytest.mark.parametrize(("states", "gone", "expected"), [([], 40, 0.9), ([False], 40, 0.9), ([True], 40, 0.4)])
def test_a_race_that_was_killed_before_its_first_score_has_its_time_again(
    states: list[bool], gone: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 seconds that are left the race would end after 40. Setting up once more has taken them; it takes 50."""
    monkeypatch.setattr("dashpot.search.racing.budget.seconds_of", lambda training, pace: 1000 * pace.seconds)
    monkeypatch.setattr("time.monotonic", lambda: 7000.0 + gone)
    study: Any = Kept(share=0.4, pace=0.05)
    study.states = states
    training = TrainingBudget(6, 64, (2,), 1, 2)
    assert prolonged(study, training, 7000.0, 100.0) is training
    # Of what is left at most six tenths are for the race: 40 + 36 of 100.
    assert study.held["share"] == pytest.approx(min(expected, 0.76))
    study.held["share"] = 0.95
    prolonged(study, training, 7000.0, 100.0)
    assert study.held["share"] == 0.95
    assert prolonged(study, training, 7000.0, None) is training
