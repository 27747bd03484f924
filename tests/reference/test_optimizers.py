"""The adaptive metric under every optimizer it knows: scikit-learn's optima, and the step that each optimizer really
makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, MultiTaskLasso
from torch import Tensor, nn
from torch.optim import Optimizer

import dashpot
from dashpot.techniques.penalties.step_rules import adaptive_step

Make = Callable[[list[nn.Parameter]], Optimizer]
Problem = tuple[np.ndarray, np.ndarray]
ALPHA = 0.15


@pytest.fixture(scope="module")
def problem() -> Problem:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 20))
    x[:, 1] += 0.5 * x[:, 0]
    x -= x.mean(axis=0)
    y = x[:, :4] @ np.array([2.0, -1.0, 0.5, 0.25]) + 0.5 * rng.standard_normal(80)
    return x, y - y.mean()


def train(
    recipe: dashpot.Technique,
    model: nn.Linear,
    loss: Callable[[Tensor], Tensor],
    x: np.ndarray,
    make: Make,
    steps: int,
    tilt: float = 0.0,
) -> np.ndarray:
    """Full-batch training; the learning rate is constant for the first half and then falls by four decades.

    Args:
        tilt: added to the gradients of odd steps and taken from those of even ones, so that a centred variance has
            something to measure.
    """
    nn.init.constant_(model.weight, 0.1)
    inputs = torch.from_numpy(x)
    optimizer = make(list(model.parameters()))
    lr = optimizer.param_groups[0]["lr"]
    with recipe.attach(model, optimizer):
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 10 ** (-8 * (step / steps - 0.5)))
            optimizer.zero_grad()
            (loss(model(inputs)) - (-1) ** step * tilt * model.weight.sum()).backward()
            optimizer.step()
    found: np.ndarray = model.weight.detach().numpy()
    return found


def regress(problem: Problem, recipe: dashpot.Technique, make: Make, steps: int, tilt: float = 0.0) -> np.ndarray:
    y = torch.from_numpy(problem[1])
    model = nn.Linear(20, 1, bias=False, dtype=torch.float64)
    found: np.ndarray = train(
        recipe, model, lambda out: (out[:, 0] - y).square().mean(), problem[0], make, steps, tilt
    )[0]
    return found


OPTIMIZERS: dict[str, tuple[Make, int, float]] = {
    "NAdam": (lambda p: torch.optim.NAdam(p, lr=0.02), 1500, 0.0),
    "RAdam": (lambda p: torch.optim.RAdam(p, lr=0.05), 1500, 0.0),
    "Adamax": (lambda p: torch.optim.Adamax(p, lr=0.02), 1500, 0.0),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, lr=0.02), 1500, 0.0),
    "RMSprop, centred": (lambda p: torch.optim.RMSprop(p, lr=0.02, centered=True, eps=0.1), 1500, 0.001),
    "RMSprop, momentum": (lambda p: torch.optim.RMSprop(p, lr=0.005, momentum=0.9), 1500, 0.0),
    "Adagrad": (lambda p: torch.optim.Adagrad(p, lr=0.5), 1500, 0.0),
    "Adagrad, decay": (lambda p: torch.optim.Adagrad(p, lr=0.5, lr_decay=1e-3), 1500, 0.0),
    "Adam, amsgrad": (lambda p: torch.optim.Adam(p, lr=0.03, amsgrad=True), 1500, 0.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_l1_reaches_the_lasso(problem: Problem, name: str) -> None:
    exact = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_
    ours = regress(problem, dashpot.L1(strength=2 * ALPHA), *OPTIMIZERS[name])
    assert 0 < (exact != 0).sum() < 20
    np.testing.assert_array_equal(ours != 0, exact != 0)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_elastic_net_reaches_the_elastic_net(problem: Problem, name: str) -> None:
    exact = ElasticNet(alpha=ALPHA, l1_ratio=0.7, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*problem).coef_
    ours = regress(problem, dashpot.ElasticNet(strength=2 * ALPHA, l1_ratio=0.7), *OPTIMIZERS[name])
    assert 0 < (exact != 0).sum() < 20
    np.testing.assert_array_equal(ours != 0, exact != 0)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), id="SGD, momentum"),
        pytest.param(lambda p: torch.optim.Adam(p, lr=0.02), id="Adam"),
        pytest.param(lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.0), id="AdamW"),
    ],
)
def test_group_lasso_reaches_the_multi_task_lasso(make: Make) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((80, 12))
    coefficients = np.zeros((3, 12))
    coefficients[:, :3] = rng.standard_normal((3, 3))
    y = x @ coefficients.T + 0.5 * rng.standard_normal((80, 3))
    exact = MultiTaskLasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_
    target = torch.from_numpy(y)
    model = nn.Linear(12, 3, bias=False, dtype=torch.float64)
    recipe = dashpot.GroupLasso(strength=2 * ALPHA, groups=dashpot.Grouping("columns"), size_weights=False)
    ours = train(recipe, model, lambda out: (out - target).square().sum(dim=1).mean(), x, make, 1500)
    assert 0 < (exact != 0).any(axis=0).sum() < 12
    np.testing.assert_array_equal(ours != 0, exact != 0)
    np.testing.assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), id="SGD, momentum"),
        pytest.param(lambda p: torch.optim.Adam(p, lr=0.02), id="Adam"),
    ],
)
def test_l1_reaches_the_logistic_lasso(make: Make) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((100, 12))
    y = (x[:, :3] @ np.array([2.0, -1.5, 0.5]) + 0.5 + rng.logistic(size=100) > 0).astype(float)
    strength = 0.05
    # scikit-learn 1.8 renamed the option; C multiplies a sum over samples, ours is a mean.
    kind: dict[str, Any] = (
        {"l1_ratio": 1.0} if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else {"penalty": "l1"}
    )
    exact = LogisticRegression(**kind, C=1 / (100 * strength), solver="saga", tol=1e-12, max_iter=100_000).fit(x, y)
    target = torch.from_numpy(y)
    model = nn.Linear(12, 1, dtype=torch.float64)
    ours = train(
        dashpot.L1(strength=strength),
        model,
        lambda out: nn.functional.binary_cross_entropy_with_logits(out[:, 0], target),
        x,
        make,
        1500,
    )
    assert 0 < (exact.coef_ != 0).sum() < 12
    np.testing.assert_array_equal(ours != 0, exact.coef_ != 0)
    np.testing.assert_allclose(ours, exact.coef_, atol=1e-4)
    np.testing.assert_allclose(model.bias.detach().numpy(), exact.intercept_, atol=1e-4)


# --- the step itself -------------------------------------------------------------------------------------------------

CONSTANT: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam, large eps": lambda p: torch.optim.Adam(p, lr=0.01, eps=0.3),
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "RMSprop, centred": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "Adagrad, decay": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.1),
}
AT_REST: dict[str, Make] = CONSTANT | {
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "SGD, dampening": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "SGD, Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "RMSprop, momentum": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, alpha=0.9),
}
del AT_REST["RMSprop, centred"]  # its variance is zero at rest, and its step is whatever eps leaves
SLOPE = torch.tensor([3.0, -0.5, 0.02], dtype=torch.float64)


def moves(make: Make, gradients: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Of each step, how far the optimizer went, and how far the metric says that it goes along this gradient."""
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = make([w])
    out = []
    for gradient in gradients:
        before = w.detach().clone()
        w.grad = gradient.clone()
        optimizer.step()
        out.append((w.detach() - before, -adaptive_step(optimizer, w, optimizer.param_groups[0]) * gradient))
    return out


@pytest.mark.parametrize("name", CONSTANT)
def test_the_step_is_exact_under_a_constant_gradient(name: str) -> None:
    # To the precision of NAdam's counter, which is float32. From the first step on; RAdam changes its formula on the
    # way.
    for real, said in moves(CONSTANT[name], [SLOPE] * 12):
        torch.testing.assert_close(said, real, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", AT_REST)
def test_the_step_is_exact_once_the_momentum_is_at_rest(name: str) -> None:
    # A steep start, which second moments remember and momenta forget.
    real, said = moves(AT_REST[name], [100 * SLOPE, -200 * SLOPE] + [SLOPE] * 400)[-1]
    torch.testing.assert_close(said, real, rtol=1e-6, atol=1e-12)
