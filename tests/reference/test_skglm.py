"""Non-convex and group penalties against skglm's and celer's coordinate descent."""

from __future__ import annotations

from typing import Any

import celer  # type: ignore[import-untyped]  # it has no types
import numpy as np
import pytest
import torch
from skglm import GeneralizedLinearEstimator  # type: ignore[import-untyped]  # it has no types
from skglm.datafits import Quadratic  # type: ignore[import-untyped]  # it has no types
from skglm.penalties import SCAD, MCPenalty  # type: ignore[import-untyped]  # it has no types
from skglm.solvers import AndersonCD  # type: ignore[import-untyped]  # it has no types
from sklearn.linear_model import Lasso
from torch import nn

import dashpot
from dashpot.techniques.penalties.penalty import Penalty

Problem = tuple[np.ndarray, np.ndarray]


def problem(samples: int, features: int) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, features))
    x[:, 1] += 0.5 * x[:, 0]
    return x, x[:, :4] @ np.array([2.0, -1.0, 0.5, 0.25]) + 0.5 * rng.standard_normal(samples)


def train(data: Problem, recipe: dashpot.Technique, start: np.ndarray, lr: float, steps: int) -> np.ndarray:
    """Full-batch gradient descent on the halved mean squared error, which is the loss of both libraries."""
    x, y = (torch.from_numpy(part) for part in data)
    model = nn.Linear(x.shape[1], 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with recipe.attach(model, optimizer):
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x)[:, 0] - y).square().mean().div(2).backward()
            optimizer.step()
    found: np.ndarray = model.weight.detach().numpy()[0]
    return found


def lasso(data: Problem, alpha: float) -> np.ndarray:
    found: np.ndarray = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(*data).coef_
    return found


def objective(data: Problem, penalty: Any, w: np.ndarray) -> float:
    """skglm's own."""
    return float(((data[0] @ w - data[1]) ** 2).mean() / 2 + penalty.value(w))


def theirs(data: Problem, penalty: Any, start: np.ndarray) -> np.ndarray:
    estimator = GeneralizedLinearEstimator(
        Quadratic(), penalty, AndersonCD(tol=1e-10, fit_intercept=False, warm_start=True)
    )
    estimator.coef_, estimator.intercept_ = start.copy(), 0.0
    found: np.ndarray = estimator.fit(*data).coef_
    return found


STRENGTH = 0.2
WIDE = problem(40, 60)  # more features than samples: many stationary points
NARROW = problem(30, 60)
TALL = problem(300, 15)  # the loss outweighs the penalties' concavity: one stationary point
PAIRS = [
    pytest.param(dashpot.SCAD(strength=STRENGTH, a=3.0), SCAD(STRENGTH, 3.0), id="SCAD"),
    pytest.param(dashpot.MCP(strength=STRENGTH, gamma=3.0), MCPenalty(STRENGTH, 3.0), id="MCP"),
]


@pytest.mark.slow  # skglm compiles for six seconds for each penalty
@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_the_only_stationary_point_is_found_from_anywhere(ours: Penalty, reference: Any) -> None:
    assert np.linalg.eigvalsh(TALL[0].T @ TALL[0] / 300).min() > 1 / 2
    exact = theirs(TALL, reference, np.zeros(15))
    assert 0 < (exact != 0).sum() < 15
    assert (np.abs(exact - lasso(TALL, STRENGTH)) > 0.1).any()
    for start in (np.zeros(15), np.full(15, 3.0)):
        found = train(TALL, ours, start, 0.3, 300)
        np.testing.assert_array_equal(found != 0, exact != 0)
        np.testing.assert_allclose(found, exact, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["zeros", "lasso"])
@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_from_a_common_start_both_end_at_the_same_point(ours: Penalty, reference: Any, begin: str) -> None:
    start = np.zeros(60) if begin == "zeros" else lasso(WIDE, STRENGTH)
    exact = theirs(WIDE, reference, start)
    found = train(WIDE, ours, start, 0.1, 1000)
    gradient = torch.from_numpy(WIDE[0].T @ (WIDE[0] @ exact - WIDE[1]) / 40)
    assert ours.stationarity(torch.from_numpy(exact), gradient).max() < 1e-6
    assert float(ours.value(torch.from_numpy(exact))) == pytest.approx(reference.value(exact), rel=1e-12)
    assert objective(WIDE, reference, found) == pytest.approx(objective(WIDE, reference, exact), abs=1e-6)
    np.testing.assert_array_equal(found != 0, exact != 0)
    np.testing.assert_allclose(found, exact, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_a_stationary_point_of_theirs_is_a_fixed_point_of_ours(ours: Penalty, reference: Any) -> None:
    # From far off, they end somewhere else than from zero, and so there are several.
    start = 3 * np.random.default_rng(5).standard_normal(60)
    exact = theirs(NARROW, reference, start)
    assert np.abs(exact - theirs(NARROW, reference, np.zeros(60))).max() > 0.1
    assert 0 < (exact != 0).sum() < 60
    np.testing.assert_allclose(train(NARROW, ours, exact, 0.05, 300), exact, atol=1e-6)


@pytest.mark.parametrize("size_weights", [False, True])
def test_group_lasso_reaches_celers(size_weights: bool) -> None:
    data, alpha = problem(80, 24), 0.2
    members = [[0, 5, 7], [1, 2], [3], [4, 6, 8, 9, 10], *([i, i + 1] for i in range(11, 23, 2)), [23]]
    weights = np.sqrt([len(group) for group in members]) if size_weights else np.ones(len(members))
    exact = (
        celer.GroupLasso(groups=members, alpha=alpha, weights=weights, fit_intercept=False, tol=1e-12).fit(*data).coef_
    )
    index = torch.empty(24, dtype=torch.int64)
    for number, group in enumerate(members):
        index[group] = number
    recipe = dashpot.GroupLasso(strength=alpha, groups=dashpot.Grouping.index(index), size_weights=size_weights)
    found = train(data, recipe, np.full(24, 0.1), 0.2, 500)
    assert 0 < (exact != 0).sum() < 24
    np.testing.assert_array_equal(found != 0, exact != 0)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_group_lasso_on_the_blocks_of_a_row() -> None:
    data, alpha = problem(80, 24), 0.3
    exact = celer.GroupLasso(groups=4, alpha=alpha, fit_intercept=False, tol=1e-12).fit(*data).coef_
    found = train(
        data,
        dashpot.GroupLasso(strength=alpha, groups=dashpot.Grouping("block:1x4"), size_weights=False),
        np.full(24, 0.1),
        0.2,
        500,
    )
    alive = (exact.reshape(6, 4) != 0).any(axis=1)
    assert 0 < alive.sum() < 6
    np.testing.assert_array_equal(found != 0, exact != 0)
    np.testing.assert_allclose(found, exact, atol=1e-6)
