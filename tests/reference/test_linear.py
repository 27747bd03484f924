"""A linear layer trained with a penalty reaches scikit-learn's optimum: coefficients to 1e-5 and the
very same support.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Lasso, Ridge
from torch import nn
from torch.optim import Optimizer

import dashpot


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 20))
    x[:, 1] += 0.5 * x[:, 0]
    x -= x.mean(axis=0)
    y = x[:, :4] @ np.array([2.0, -1.0, 0.5, 0.25]) + 0.5 * rng.standard_normal(80)
    return x, y - y.mean()


def solve(
    problem: tuple[np.ndarray, np.ndarray],
    recipe: dashpot.Technique,
    make: Callable[[list[nn.Parameter]], Optimizer],
    steps: int,
) -> np.ndarray:
    x, y = (torch.from_numpy(part) for part in problem)
    model = nn.Linear(20, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.1)
    optimizer = make(list(model.parameters()))
    lr = optimizer.param_groups[0]["lr"]
    with recipe.attach(model, optimizer):
        for step in range(steps):
            # Constant first, then a slow decay, which lets Adam settle.
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 10 ** (-4 * (step / steps - 0.5)))
            optimizer.zero_grad()
            (model(x)[:, 0] - y).square().mean().backward()
            optimizer.step()
    return model.weight.detach().numpy()[0]


OPTIMIZERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.05), 2000),
    "SGD, momentum": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), 2000),
    "SGD, dampening": (lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, dampening=0.5), 3000),
    "SGD, Nesterov": (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True), 2000),
    "Adam": (lambda p: torch.optim.Adam(p, lr=0.01), 6000),
    "Adam, amsgrad": (lambda p: torch.optim.Adam(p, lr=0.03, amsgrad=True), 6000),
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0), 6000),
    "AdamW, fused": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0, fused=True), 6000),
}
ALPHA = 0.15


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_l1_reaches_the_lasso(problem: tuple[np.ndarray, np.ndarray], name: str) -> None:
    exact = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_
    ours = solve(problem, dashpot.L1(strength=2 * ALPHA), *OPTIMIZERS[name])
    assert 0 < (exact != 0).sum() < 20
    np.testing.assert_array_equal(ours != 0, exact != 0)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_elastic_net_reaches_the_elastic_net(problem: tuple[np.ndarray, np.ndarray], name: str) -> None:
    exact = ElasticNet(alpha=ALPHA, l1_ratio=0.7, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_
    ours = solve(problem, dashpot.ElasticNet(strength=2 * ALPHA, l1_ratio=0.7), *OPTIMIZERS[name])
    np.testing.assert_array_equal(ours != 0, exact != 0)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize("name", ["SGD", "SGD, momentum", "Adam"])
def test_l2_reaches_ridge(problem: tuple[np.ndarray, np.ndarray], name: str) -> None:
    alpha = 7.0
    exact = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky").fit(*problem).coef_
    make, steps = OPTIMIZERS[name]
    ours = solve(problem, dashpot.L2(strength=2 * alpha / 80), make, 2 * steps)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


def test_stationarity_vanishes_at_the_lasso_and_only_there(problem: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (torch.from_numpy(part) for part in problem)
    penalty = dashpot.L1(strength=2 * ALPHA)
    exact = torch.from_numpy(Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_)

    def distance(w: torch.Tensor) -> float:
        return float(penalty.stationarity(w, 2 * x.T @ (x @ w - y) / 80).max())

    assert distance(exact) < 1e-6
    assert distance(exact + 0.01) > 1e-3


def test_a_decoupled_threshold_is_another_problem_under_adam(problem: tuple[np.ndarray, np.ndarray]) -> None:
    exact = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_
    ours = solve(problem, dashpot.L1(strength=2 * ALPHA, scaling="decoupled"), *OPTIMIZERS["Adam"])
    assert np.abs(ours - exact).max() > 0.01
