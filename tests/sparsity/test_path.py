"""The regularization path of a linear model is scikit-learn's, point by point; that of a network goes where it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import MultiTaskLasso, enet_path, lasso_path
from torch import Tensor, nn

import dashpot
from dashpot import schedules
from dashpot.core.errors import ConfigError, DataError
from dashpot.sparsity.path import path
from dashpot.sparsity.result import PathResult
from dashpot.sparsity.selection import selected_features, stability_selection
from dashpot.techniques.penalties.strengths import max_strength, resolve_strengths
from tests.sparsity.logistic import sparse_logistic

Data = tuple[Tensor, Tensor]


def data(n: int = 60, p: int = 20, *, classes: int = 0) -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, p)) + 0.5 * rng.standard_normal((n, 1)) + 1.0  # correlated, and not centred
    y = x[:, :3] @ np.array([2.0, -1.0, 0.5]) + 0.5 * rng.standard_normal(n) + 3.0
    if classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    return torch.from_numpy(x), torch.from_numpy(y)


def strong(result: PathResult) -> float:
    return result.strengths[0]


@pytest.mark.parametrize("p", [20, 150], ids=["n > p", "n < p"])
@pytest.mark.parametrize("l1_ratio", [None, 0.5])
def test_squared_error_follows_scikit_learn(p: int, l1_ratio: float | None) -> None:
    x, y = data(p=p)
    technique = dashpot.L1() if l1_ratio is None else dashpot.ElasticNet(l1_ratio=l1_ratio)
    result = path(lambda: nn.Linear(p, 1, dtype=torch.float64), (x, y), technique, points=12, cv=2)
    assert result.coefficients is not None
    centred, target = (x - x.mean(dim=0)).numpy(), (y - y.mean()).numpy()
    options: dict[str, Any] = {"alphas": np.array(result.strengths) / 2, "tol": 1e-12, "max_iter": 200_000}
    exact = (
        lasso_path(centred, target, **options)
        if l1_ratio is None
        else enet_path(centred, target, l1_ratio=l1_ratio, **options)
    )[1]
    np.testing.assert_allclose(result.coefficients[:, 0], exact.T, atol=1e-4)
    assert [set(np.flatnonzero(c)) for c in result.coefficients[:, 0]] == [
        set(np.flatnonzero(abs(c) > 1e-9)) for c in exact.T
    ]
    assert all(result.converged)
    assert (result.selected[0], result.zeros[0]) == (0, 1.0)
    # max_strength is the very place where the first weight wakes up.
    assert 2 * np.abs(centred.T @ target).max() / len(y) / (l1_ratio or 1.0) == pytest.approx(strong(result), rel=1e-9)


def test_classes_follow_an_independent_solver() -> None:
    """With two outputs the weights come in mirrored pairs, and their sum of sizes is the size of the one weight of
    logistic regression.
    """
    x, y = data(classes=2)
    result = path(lambda: nn.Linear(20, 2), (x, y), dashpot.L1(), points=6, cv=2)
    assert result.coefficients is not None
    for strength, found in list(zip(result.strengths, result.coefficients, strict=True))[1:]:
        exact = sparse_logistic(x.double().numpy(), y.numpy(), strength)
        np.testing.assert_allclose(found[1] - found[0], exact, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found[1], -found[0], atol=1e-8)


def test_three_classes_and_their_intercepts_are_stationary() -> None:
    x, y = data(classes=3)
    result = path(lambda: nn.Linear(20, 3, dtype=torch.float64), (x, y), dashpot.L1(), points=5, cv=2)
    for i, strength in enumerate(result.strengths):
        layer = result.model(i)
        nn.functional.cross_entropy(layer(x), y).backward()
        grad = layer.weight.grad  # type: ignore[attr-defined]  # it is a Linear
        # It is a Linear.
        gap = dashpot.L1(strength=strength).stationarity(layer.weight.detach(), grad)  # type: ignore[attr-defined]
        assert float(gap.max()) < 1e-6 * strong(result)
        # It is a Linear.
        assert float(layer.bias.grad.abs().max()) < 1e-6 * strong(result)  # type: ignore[attr-defined]


def test_groups_of_columns_follow_the_multi_task_lasso() -> None:
    x, y = data()
    both = torch.stack([y, -0.5 * y + x[:, 5]], dim=1)
    technique = dashpot.GroupLasso(groups="columns", size_weights=False)
    result = path(lambda: nn.Linear(20, 2, dtype=torch.float64), (x, both), technique, points=4, cv=2)
    assert result.coefficients is not None
    for strength, found in zip(result.strengths, result.coefficients, strict=True):
        # scikit-learn halves the mean over rows of the sum over outputs; ours is the mean over both.
        exact = MultiTaskLasso(alpha=strength, tol=1e-10, max_iter=100_000).fit(x, both)
        np.testing.assert_allclose(found, exact.coef_, atol=1e-4)


def test_scores_choices_and_json() -> None:
    x, y = data(p=8)
    result = path(lambda: nn.Linear(8, 1), (x, y), dashpot.L1(), points=10, cv=5, feature_names=list("abcdefgh"))
    assert result.fold_losses.shape == (5, 10)
    np.testing.assert_allclose(result.loss, result.fold_losses.mean(axis=0))
    assert result.best == result.loss.argmin()
    assert result.one_se <= result.best

    def told_apart(point: int) -> bool:
        fallen = result.fold_scores[:, result.best] - result.fold_scores[:, point]
        too_far = result.loss[point] > result.loss[result.best] + result.loss_se[result.best]
        return bool(too_far or (fallen.mean() > 0 and fallen.mean() >= fallen.std(ddof=1) / len(fallen) ** 0.5))

    assert not told_apart(result.one_se)
    assert all(told_apart(point) for point in range(result.one_se))
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record["coefficients"][-1]["values"][0] == pytest.approx(
        result.coefficients[-1][0][record["coefficients"][-1]["columns"]]
    )  # type: ignore[index]  # it is a Linear
    assert len(selected_features(result.model(), result.feature_names)) == result.selected[result.one_se]
    again = path(lambda: nn.Linear(8, 1), (x, y), dashpot.L1(), points=10, cv=5)
    np.testing.assert_array_equal(again.fold_losses, result.fold_losses)


def test_cold_starts_come_to_the_same_place() -> None:
    x, y = data(p=100)
    warm, cold = (
        path(lambda: nn.Linear(100, 1), (x, y), dashpot.L1(), points=8, cv=2, order=o) for o in ("auto", "independent")
    )
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=1e-5)


def test_a_deeper_network_goes_from_weak_to_strong() -> None:
    x, y = data(p=6)
    x, y = ((part - part.mean(dim=0)) / part.std(dim=0) for part in (x.float(), y.float()))
    before = torch.random.get_rng_state()
    result = path(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)),
        (x, y),
        dashpot.L1(),
        points=3,
        cv=2,
        epochs=30,
        lr=0.02,
        batch_size=30,
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert result.order == "weak-to-strong"
    assert result.coefficients is None
    assert list(result.strengths) == sorted(result.strengths, reverse=True)
    assert result.zeros[0] > 0.9 > result.zeros[-1]
    assert result.score[-1] > 0.5 > result.score[0]


def test_max_strength_leaves_the_model_as_it_was() -> None:
    x, y = data(p=6)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model[3].eval()
    assert max_strength(model, x, y, dashpot.L1()) > 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not model[3].training
    assert all(p.grad is None for p in model.parameters())


def test_absolute_keeps_everything_but_the_strength() -> None:
    x, y = data()
    model = nn.Linear(20, 1)
    top = max_strength(model, x, y, dashpot.L1())
    recipe = dashpot.Mixup() | dashpot.L1(relative="0to0.1@from=2steps@until=7steps")
    assert resolve_strengths(recipe, model, (x, y)) == dashpot.Mixup() | dashpot.L1(
        strength=schedules.linear(0.0, 0.1 * top, begin="2steps", until="7steps")
    )
    plain = dashpot.L1() | dashpot.Mixup()
    assert resolve_strengths(plain, model, None) is plain
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=7)
    assert resolve_strengths(recipe, model, loader) == resolve_strengths(recipe, model, (x, y))


def test_stability_selection_finds_the_true_columns() -> None:
    x, y = data(n=120)
    frequency = stability_selection(lambda: nn.Linear(20, 1), (x, y), dashpot.L1(), strength=0.6, resamples=20)
    assert frequency.shape == (20,)
    assert (frequency[:2] == 1).all()
    assert frequency[3:].max() < 0.6


LINEAR = {"model_fn": lambda: nn.Linear(20, 1), "technique": dashpot.L1()}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"technique": dashpot.Dropout()}, ConfigError, "technique must be a penalty"),
        ({"points": 0}, ConfigError, "points must be a whole number >= 1, finite, got 0"),
        ({"cv": 1}, ConfigError, "cv must be a whole number >= 2, finite, got 1"),
        ({"cv": 40}, ConfigError, "cv must be at most 30"),
        ({"strengths": []}, ConfigError, "at least one number > 0"),
        ({"strengths": [0.1, -1.0]}, ConfigError, "strengths must be a number > 0"),
        ({"order": "random"}, ConfigError, "order must be one of auto"),
        ({"feature_names": ["a"]}, ConfigError, "20 names"),
        ({"technique": dashpot.L0()}, ConfigError, "technique must be a penalty that zeroes everything"),
        ({"technique": dashpot.L1(on="norms")}, ConfigError, "L1.on must be a selection of some parameter"),
        ({"model_fn": lambda: nn.Linear(20, 3)}, DataError, "3 per row for 3 outputs"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    options = {**LINEAR, **change}
    with pytest.raises(error, match=message):
        path(options.pop("model_fn"), data(), options.pop("technique"), **options)


def test_more_folds_than_rows_of_a_class_and_a_constant_target() -> None:
    x, y = data(classes=2)
    with pytest.raises(ConfigError, match="cv must be at most 30, the rows of class 0, got 31"):
        path(lambda: nn.Linear(20, 2), (x, y), dashpot.L1(), cv=31)
    with pytest.raises(DataError, match="from 0 to 1 for 2 outputs"):
        path(lambda: nn.Linear(20, 2), (x, y + 1), dashpot.L1())
    with pytest.raises(DataError, match="the target must vary"):
        path(lambda: nn.Linear(20, 1), (x, torch.ones(60)), dashpot.L1())
    with pytest.raises(DataError, match="one length above 0"):
        path(lambda: nn.Linear(20, 1), (x, y[:3]), dashpot.L1())
