"""Gains over the rows of one fold: means, intervals, weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import dashpot
from dashpot.search.outcome.gains import over_rows
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial
from dashpot.search.space.space import Candidate
from tests.search.helpers import small_task
from tests.search.outcome.explaining import by_name, run, space_of

NOBODY = Candidate(dashpot.Recipe(), 0.01, {}, {})


def values_task(rng: np.random.Generator, rows: int = 400) -> Task:
    task = small_task()
    y = torch.from_numpy(rng.normal(size=(rows, 1))).float()
    folds = [(np.arange(10), np.arange(10, rows))]
    return replace(task, y=y, x=torch.zeros(rows, 1), folds=folds, classes=0, calibrated=False, scale=3.0)


def bootstrapped(a: np.ndarray, b: np.ndarray, weight: np.ndarray, rng: np.random.Generator) -> float:
    """Half the 95 % interval of the difference of two root mean squares, by drawing rows again and again."""
    found = []
    for _ in range(3000):
        some = rng.integers(0, len(a), len(a))
        roots = [np.sqrt(np.average(e[some] ** 2, weights=weight[some])) for e in (a, b)]
        found.append(3.0 * (roots[0] - roots[1]))
    return float(1.96 * np.std(found))


@pytest.mark.parametrize("weighted", [False, True])
def test_root_mean_squares_have_the_intervals_of_a_bootstrap(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    task = values_task(rng)
    weight = rng.uniform(0.2, 3.0, len(task.y)) if weighted else np.ones(len(task.y))
    if weighted:
        task = replace(task, weight=torch.from_numpy(weight))
    y = task.y.numpy()[10:]
    outs = [y + rng.normal(size=y.shape) * size for size in (1.0, 1.3)]
    over = over_rows(task, 0)
    better, worse = (over.scores(Trial(0, NOBODY, outputs=[torch.from_numpy(out).float()])) for out in outs)
    errors = [(out - y)[:, 0] for out in outs]
    roots = [3.0 * np.sqrt(np.average(e**2, weights=weight[10:])) for e in errors]
    found = over.interval(worse - better)
    assert found["difference"] == pytest.approx(roots[1] - roots[0], rel=1e-5)
    half = bootstrapped(errors[1], errors[0], weight[10:], rng)
    assert found["high"] - found["difference"] == pytest.approx(half, rel=0.1)
    assert found["difference"] - found["low"] == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize("calibrated", [False, True])
def test_classes_have_the_mean_of_the_score_that_ranks_them(calibrated: bool) -> None:
    task = replace(small_task(), calibrated=calibrated)
    rows = task.folds[1][1]
    out = torch.from_numpy(np.random.default_rng(0).normal(size=(len(rows), task.classes))).float() * 3
    got = task.row_scores(out, rows)
    assert got.shape == (len(rows),)
    assert got.mean() == pytest.approx(task.scores([out], [rows])[0], rel=1e-6)
    if not calibrated:
        shifted = out.double().numpy() - out.double().numpy().max(1, keepdims=True)
        right = np.take_along_axis(shifted, task.y.numpy()[rows][:, None], 1)[:, 0]
        np.testing.assert_allclose(got, np.log(np.exp(shifted).sum(1)) - right, rtol=1e-6)


def test_a_loss_of_the_users_own_is_meant_by_row() -> None:
    rng = np.random.default_rng(1)

    def absolute(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs()

    task = replace(values_task(rng), loss=absolute)
    out = torch.from_numpy(rng.normal(size=(390, 1))).float()
    np.testing.assert_allclose(
        task.row_scores(out, task.folds[0][1]), np.abs(out.numpy() - task.y.numpy()[10:])[:, 0], rtol=1e-6
    )


def test_contributions_over_rows_have_the_means_of_that_fold_and_intervals() -> None:
    task, space = small_task(), space_of(dashpot.L1(strength=1.0), dashpot.Dropout(p=0.5))
    winner, by_fold, _ = run(task, space, space.default(), folds=[0])
    over: Any = over_rows(task, 0)
    _, by_row, notes = run(task, space, space.default(), folds=[0], over=over)
    assert not notes
    assert len(winner.scores) == 1
    for key, row in by_name(by_row).items():
        assert row["difference"] == pytest.approx(by_name(by_fold)[key]["difference"], abs=1e-6)
        assert row["low"] < row["difference"] < row["high"]
        assert by_name(by_fold)[key]["low"] is None
    assert by_name(by_row)["l1", "left out"]["high"] < 0  # it leaves no weight
    assert len(by_row.interactions) == 1
