"""What candidates are ranked by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from dashpot.search.racing.task import Task
from tests.search.helpers import FOLDS, race, searching, small_space, small_task, table


def outputs(task: Task, sharpness: float, seed: int = 0) -> list[Tensor]:
    """Logits for the validation rows of each fold that know something of the truth."""
    g = torch.Generator().manual_seed(seed)
    return [
        sharpness * (torch.nn.functional.one_hot(task.y[valid], 3) + torch.randn(len(valid), 3, generator=g))
        for _, valid in task.folds
    ]


def calibrated(task: Task) -> Task:
    return dataclasses.replace(task, calibrated=True)


VALID = [valid for _, valid in small_task().folds]


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 6.0])
def test_calibrated_scores_are_those_of_the_best_single_temperature(sharpness: float) -> None:
    """By brute force over temperatures, with the mean over all rows, since folds share one."""
    task = small_task()
    outs = outputs(task, sharpness)
    y = [task.y[valid].numpy() for valid in VALID]

    def losses(temperature: float) -> list[float]:
        return [
            log_loss(t, torch.softmax(out.double() / temperature, 1).numpy(), labels=[0, 1, 2])
            for t, out in zip(y, outs, strict=True)
        ]

    best = min(
        (losses(float(t)) for t in np.geomspace(0.06, 19, 600)),
        key=lambda found: np.average(found, weights=[len(t) for t in y]),
    )
    assert calibrated(task).scores(outs, VALID) == pytest.approx(best, abs=2e-3)
    assert task.scores(outs, VALID) == pytest.approx(losses(1.0), rel=1e-5), "and without, at 1"


def test_a_sharper_copy_of_a_candidate_is_as_good() -> None:
    task = calibrated(small_task())
    assert task.scores(outputs(task, 4.0), VALID) == pytest.approx(task.scores(outputs(task, 1.0), VALID), rel=1e-4)
    assert task.proper(outputs(task, 4.0)[0], VALID[0]) == pytest.approx(
        task.proper(outputs(task, 1.0)[0], VALID[0]), rel=1e-4
    )


def test_what_is_not_finite_loses_and_raises_nothing() -> None:
    task = calibrated(small_task())
    outs = outputs(task, 1.0)
    outs[1][0] = torch.nan
    scores = task.scores(outs, VALID)
    assert np.isnan(scores[1])
    assert np.isfinite(scores[0])


def test_values_have_no_temperature() -> None:
    task = small_task(regression=True)
    outs = [torch.zeros(len(valid), 1) for valid in VALID]
    assert calibrated(task).scores(outs, VALID) == task.scores(outs, VALID)
    assert task.scores(outs, VALID) == pytest.approx(
        [10 * float(task.y[valid].square().mean().sqrt()) for valid in VALID], rel=1e-5
    )


def test_a_race_ranks_by_them() -> None:
    """The kept outputs have the reported score, at one temperature for all folds, and no evaluation was better."""
    task = calibrated(small_task())
    for trial in race(task, [small_space().default(), small_space().baseline()], rungs=()):
        assert len(trial.scores) == FOLDS
        assert trial.scores == pytest.approx(task.scores(trial.outputs, VALID), rel=1e-6)
        assert trial.score == pytest.approx(min(score for _, score in trial.history))


def test_the_search_ranks_as_its_final_model_predicts(tmp_path: Path) -> None:
    assert searching(table(), tmp_path).task.calibrated
    assert not searching(table(), tmp_path, calibrate=False).task.calibrated
