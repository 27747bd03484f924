"""Where training with Adam comes to rest in the adaptive metric: the optima of scipy and of plain numpy, and their
optimality conditions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, nnls
from torch import nn
from torch.optim import Optimizer

import dashpot

SAMPLES = 60


def train(
    recipe: dashpot.Technique,
    x: np.ndarray,
    y: np.ndarray,
    make: Callable[[list[nn.Parameter]], Optimizer],
    steps: int = 700,
) -> np.ndarray:
    """Full batches; loss: the mean over samples of the squared error summed over outputs. The learning rate falls by
    four decades in the second half.
    """
    inputs, target = torch.from_numpy(x), torch.from_numpy(y)
    model = nn.Linear(x.shape[1], y.shape[1], bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.1)
    optimizer = make(list(model.parameters()))
    lr = optimizer.param_groups[0]["lr"]
    with recipe.attach(model, optimizer):
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 10 ** (-8 * (step / steps - 0.5)))
            optimizer.zero_grad()
            (model(inputs) - target).square().sum(dim=1).mean().backward()
            optimizer.step()
    found: np.ndarray = model.weight.detach().numpy()
    return found


def slope(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    found: np.ndarray = 2 * (x @ w.T - y).T @ x / len(x)
    return found


def problem(outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated inputs of unlike scales, so that Adam's steps differ from weight to weight."""
    rng = np.random.default_rng(7)
    x = (
        rng.standard_normal((SAMPLES, inputs))
        @ (np.eye(inputs) + 0.2 * rng.standard_normal((inputs, inputs)))
        * np.linspace(0.5, 1.5, inputs)
    )
    w = rng.standard_normal((outputs, inputs)) * np.linspace(0.2, 1.5, outputs)[:, None]
    return x, x @ w.T + 0.5 * rng.standard_normal((SAMPLES, outputs))


MAKERS: dict[str, Callable[[list[nn.Parameter]], Optimizer]] = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.0),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.03),
}


class TestMaxNorm:
    MAXIMUM = 0.8

    def exact(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Row by row: ridge regression, at the multiplier whose solution has the norm allowed (found by bracketing)."""
        rows = []
        for target in y.T:

            def ridge(multiplier: float, target: np.ndarray = target) -> np.ndarray:
                return np.linalg.solve(
                    2 * x.T @ x / len(x) + multiplier * np.eye(x.shape[1]), 2 * x.T @ target / len(x)
                )

            def excess(multiplier: float, ridge: Callable[[float], np.ndarray] = ridge) -> float:
                return float(np.linalg.norm(ridge(multiplier))) - self.MAXIMUM

            rows.append(ridge(brentq(excess, 0.0, 1e3, xtol=1e-12) if excess(0.0) > 0 else 0.0))
        return np.stack(rows)

    @pytest.mark.parametrize("name", ["Adam", "RMSprop"])
    def test_rest_is_the_minimum_under_the_constraint(self, name: str) -> None:
        x, y = problem(4, 6)
        recipe = dashpot.MaxNorm(maximum=self.MAXIMUM, scaling="adaptive")
        ours, exact = train(recipe, x, y, MAKERS[name]), self.exact(x, y)
        active = np.linalg.norm(exact, axis=1) > self.MAXIMUM - 1e-6
        assert 0 < active.sum() < len(active)
        np.testing.assert_allclose(ours, exact, atol=1e-4)
        # Karush, Kuhn and Tucker: inside no slope is left, on the sphere it points inwards along the row.
        norms, slopes = np.linalg.norm(ours, axis=1), slope(ours, x, y)
        assert (norms <= self.MAXIMUM * (1 + 1e-12)).all()
        np.testing.assert_allclose(norms[active], self.MAXIMUM, rtol=1e-12)
        np.testing.assert_allclose(slopes[~active], 0, atol=1e-4)
        multipliers = -(slopes * ours).sum(axis=1) / norms**2
        assert (multipliers[active] > 0.01).all()
        np.testing.assert_allclose(slopes[active], -multipliers[active, None] * ours[active], atol=1e-4)
        assert recipe.stationarity(torch.from_numpy(ours), torch.from_numpy(slopes)).max() < 1e-4
        assert recipe.stationarity(torch.from_numpy(0.9 * ours), torch.from_numpy(slope(0.9 * ours, x, y))).max() > 1e-2

    def test_the_nearest_point_is_another_problem_under_adam(self) -> None:
        x, y = problem(4, 6)
        ours = train(dashpot.MaxNorm(maximum=self.MAXIMUM), x, y, MAKERS["Adam"])
        assert np.abs(ours - self.exact(x, y)).max() > 0.01


class TestNonNegative:
    @pytest.mark.parametrize("name", MAKERS)
    def test_rest_is_the_non_negative_least_squares(self, name: str) -> None:
        x, y = problem(3, 8)
        recipe = dashpot.NonNegative()
        ours = train(recipe, x, y, MAKERS[name], steps=2000)
        exact = np.stack([nnls(x, target)[0] for target in y.T])
        assert 0 < (exact == 0).sum() < exact.size
        np.testing.assert_array_equal(ours == 0, exact == 0)
        np.testing.assert_allclose(ours, exact, atol=1e-4)
        slopes = slope(ours, x, y)
        assert (ours >= 0).all()
        assert (slopes[ours == 0] >= 0).all()
        np.testing.assert_allclose(slopes[ours > 0], 0, atol=1e-4)
        assert recipe.stationarity(torch.from_numpy(ours), torch.from_numpy(slopes)).max() < 1e-4
        assert recipe.stationarity(torch.from_numpy(ours + 0.1), torch.from_numpy(slope(ours + 0.1, x, y))).max() > 1e-2


class TestSparseGroupLasso:
    STRENGTH, RATIO = 0.3, 0.4

    def exact(self, x: np.ndarray, y: np.ndarray, groups: list[list[int]]) -> np.ndarray:
        """Proximal gradient descent at one step for all weights, with each group's map in a loop."""
        w = np.zeros((y.shape[1], x.shape[1]))
        step = len(x) / 2 / np.linalg.norm(x, 2) ** 2
        for _ in range(500):
            flat = (w - step * slope(w, x, y)).ravel()
            flat = np.sign(flat) * np.maximum(np.abs(flat) - step * self.STRENGTH * self.RATIO, 0)
            for group in groups:
                length = np.linalg.norm(flat[group])
                limit = step * self.STRENGTH * (1 - self.RATIO) * np.sqrt(len(group))
                flat[group] *= 1 - limit / length if length > limit else 0.0
            w = flat.reshape(w.shape)
        return w

    COLUMNS = ("columns", [[i, i + 10, i + 20] for i in range(10)])
    BLOCKS = ("block:3x2", [[i, i + 1, i + 10, i + 11, i + 20, i + 21] for i in range(0, 10, 2)])
    RAGGED = (
        "index:" + "/".join("0012345677" * 3),
        [[i + 10 * k for k in range(3) for i in part] for part in ([0, 1], *([i] for i in range(2, 8)), [8, 9])],
    )

    @pytest.mark.parametrize(
        ("name", "text", "groups"),
        [("Adam", *COLUMNS), ("Adam", *BLOCKS), ("Adam", *RAGGED), ("RMSprop", *RAGGED)],
        ids=["Adam, columns", "Adam, blocks", "Adam, index map", "RMSprop, index map"],
    )
    def test_rest_is_the_optimum(self, name: str, text: str, groups: list[list[int]]) -> None:
        rng = np.random.default_rng(8)
        x = rng.standard_normal((SAMPLES, 10)) * np.linspace(0.6, 1.4, 10)
        x[:, 1] += 0.4 * x[:, 0]
        coefficients = np.zeros((3, 10))
        coefficients[:, :4] = rng.standard_normal((3, 4)) * [1.0, 1.0, 0.5, 0.3]
        coefficients[0, :3] = 0
        y = x @ coefficients.T + 0.5 * rng.standard_normal((SAMPLES, 3))
        recipe = dashpot.SparseGroupLasso(strength=self.STRENGTH, l1_ratio=self.RATIO, groups=dashpot.Grouping(text))
        ours, exact = train(recipe, x, y, MAKERS[name]), self.exact(x, y, groups)
        dead = [not exact.ravel()[group].any() for group in groups]
        assert 0 < sum(dead) < len(groups)
        assert any((exact.ravel()[g] == 0).any() and (exact.ravel()[g] != 0).any() for g in groups)
        np.testing.assert_array_equal(ours != 0, exact != 0)
        np.testing.assert_allclose(ours, exact, atol=1e-4)
        w, g = ours.ravel(), slope(ours, x, y).ravel()
        for group in groups:
            mine, pull = w[group], g[group]
            single, whole = self.STRENGTH * self.RATIO, self.STRENGTH * (1 - self.RATIO) * np.sqrt(len(group))
            if not mine.any():
                assert np.linalg.norm(np.maximum(np.abs(pull) - single, 0)) <= whole + 1e-4
                continue
            on = mine != 0
            np.testing.assert_allclose(
                (pull + single * np.sign(mine) + whole * mine / np.linalg.norm(mine))[on], 0, atol=1e-4
            )
            assert (np.abs(pull[~on]) <= single + 1e-4).all()
        assert recipe.stationarity(torch.from_numpy(ours), torch.from_numpy(slope(ours, x, y))).max() < 1e-4
