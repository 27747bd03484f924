"""Weights of rows in a path and in stability selection: 0 is absent, 2 is two rows, and the rest is scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Lasso
from sklearn.metrics import r2_score
from torch import Tensor, nn

import dashpot
from dashpot.evaluation.cross_validation import folds
from dashpot.report.path.figure import _small_print
from dashpot.sparsity.linear import LinearPath
from dashpot.sparsity.path import path
from dashpot.sparsity.selection import stability_selection
from tests.sparsity.logistic import sparse_logistic

N = 60
RNG = np.random.default_rng(3)
NOISE = RNG.standard_normal((N, 150))
WEIGHT = RNG.uniform(0.1, 4.0, N)
COUNT = RNG.integers(0, 4, N)


def data(p: int = 8, *, classes: int = 0) -> tuple[Tensor, Tensor]:
    x = NOISE[:, :p] + 0.5 * NOISE[:, :1] + 1.0  # correlated, and not centred
    y = x[:, :3] @ np.array([2.0, -1.0, 0.5]) + 0.5 * NOISE[:, -1] + 3.0
    if classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    return torch.from_numpy(x), torch.from_numpy(y)


def linear(p: int = 8, outputs: int = 1) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(p, outputs, dtype=torch.float64)


def deep(outputs: int = 1) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, outputs))


@pytest.mark.parametrize("p", [8, 150], ids=["n > p", "n < p"])
@pytest.mark.parametrize("l1_ratio", [None, 0.5])
def test_squared_error_follows_scikit_learn(p: int, l1_ratio: float | None) -> None:
    x, y = data(p)
    technique = dashpot.L1() if l1_ratio is None else dashpot.ElasticNet(l1_ratio=l1_ratio)
    result = path(linear(p), (x, y), technique, points=4, cv=2, sample_weight=WEIGHT)
    assert result.coefficients is not None
    assert all(result.converged)
    for i, strength in enumerate(result.strengths):
        options: dict[str, Any] = {"alpha": strength / 2, "tol": 1e-12, "max_iter": 200_000}
        model = Lasso(**options) if l1_ratio is None else ElasticNet(l1_ratio=l1_ratio, **options)
        model.fit(x.numpy(), y.numpy(), sample_weight=WEIGHT)
        np.testing.assert_allclose(result.coefficients[i, 0], model.coef_, atol=1e-4)
        assert result.states[i]["bias"].item() == pytest.approx(model.intercept_, abs=1e-3)
    share = WEIGHT / WEIGHT.sum()
    start = np.abs((share * (y.numpy() - share @ y.numpy())) @ x.numpy()).max()
    assert result.strengths[0] == pytest.approx(2 * start / (l1_ratio or 1.0), rel=1e-9)
    assert (result.selected[0], result.zeros[0]) == (0, 1.0)


def test_classes_follow_an_independent_solver() -> None:
    x, y = data(classes=2)
    result = path(linear(8, 2), (x, y), dashpot.L1(), points=4, cv=2, sample_weight=WEIGHT)
    assert result.coefficients is not None
    for strength, found in list(zip(result.strengths, result.coefficients, strict=True))[1:]:
        exact = sparse_logistic(x.numpy(), y.numpy(), strength, WEIGHT)
        np.testing.assert_allclose(found[1] - found[0], exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [8, 40], ids=["second order", "first order"])
def test_three_classes_and_their_intercepts_are_stationary(p: int) -> None:
    x, y = data(p, classes=3)
    result = path(linear(p, 3), (x, y), dashpot.L1(), strengths=[0.1, 0.01], cv=2, sample_weight=WEIGHT)
    largest = dashpot.max_strength(linear(p, 3)(), x, y, dashpot.L1(), weight=WEIGHT)
    share = torch.from_numpy(WEIGHT / WEIGHT.sum())
    for i, strength in enumerate(result.strengths):
        layer: Any = result.model(i)
        losses = nn.functional.cross_entropy(layer(x), y, reduction="none")
        (losses * share).sum().backward()  # type: ignore[no-untyped-call]  # torch has no types here
        gap = dashpot.L1(strength=strength).stationarity(layer.weight.detach(), layer.weight.grad)
        assert float(gap.max()) < 1e-6 * largest
        assert float(layer.bias.grad.abs().max()) < 1e-6 * largest


def test_scores_of_folds_are_weighted_and_the_folds_count_alike() -> None:
    x, y = (part.numpy() for part in data())
    result = path(linear(), (x, y), dashpot.L1(), strengths=[1.0, 0.1], cv=3, sample_weight=WEIGHT)
    for fold, (train, valid) in enumerate(folds(torch.from_numpy(y), 3, 0)):
        for i, strength in enumerate(result.strengths):
            model = Lasso(strength / 2, tol=1e-12).fit(x[train], y[train], sample_weight=WEIGHT[train])
            guess, weight = model.predict(x[valid]), WEIGHT[valid]
            loss = np.average((guess - y[valid]) ** 2, weights=weight)
            assert result.fold_losses[fold, i] == pytest.approx(loss, rel=1e-4)
            assert result.fold_scores[fold, i] == pytest.approx(r2_score(y[valid], guess, sample_weight=weight), 1e-4)
    np.testing.assert_allclose(result.loss, result.fold_losses.mean(axis=0))
    assert result.to_dict()["weights"] == "sample_weight"
    assert "60 rows (weighted by sample_weight), 3 folds" in _small_print(result.record(), [])
    assert path(linear(), (x, y), dashpot.L1(), points=1, cv=2).to_dict()["weights"] is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(lambda c: sum(map(bool, c)) > 4), st.booleans())
def test_a_whole_weight_is_so_many_rows(counts: list[int], classes: bool) -> None:
    x, y = (part[:12] for part in data(4, classes=2 if classes else 0))
    times = np.array(counts)
    kept, many = np.flatnonzero(times), np.repeat(np.arange(12), times)
    outputs = 2 if classes else 1
    weight = torch.from_numpy(times[kept])
    one = LinearPath(x[kept], y[kept], outputs, dashpot.L1(), intercept=True, weight=weight).solve(0.1)
    other = LinearPath(x[many], y[many], outputs, dashpot.L1(), intercept=True).solve(0.1)
    torch.testing.assert_close(one.weight, other.weight, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("order", ["auto", "independent"])
def test_a_trained_network_counts_them_so_too(order: Any) -> None:
    x, y = (part.float() for part in data())
    many = np.repeat(np.arange(N), COUNT)
    options: dict[str, Any] = {"points": 2, "cv": 2, "epochs": 6, "batch_size": 1000, "lr": 0.02, "order": order}
    one = path(deep, (x, y), dashpot.L1(), sample_weight=COUNT, **options)
    other = path(deep, (x[many], y[many]), dashpot.L1(), **options)
    np.testing.assert_allclose(one.strengths, other.strengths, rtol=1e-5)
    for found, wanted in zip(one.states, other.states, strict=True):
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("order", ["auto", "independent"])
@pytest.mark.parametrize("make", [linear(), deep], ids=["linear", "deep"])
def test_rows_of_weight_0_are_absent(make: Callable[[], nn.Module], order: Any) -> None:
    """Bit for bit, whatever stands there; and equal weights are none."""
    x, y = data()
    kept = np.flatnonzero(COUNT)
    options: dict[str, Any] = {"points": 3, "cv": 3, "epochs": 2, "order": order}
    less = path(make, (x[kept], y[kept]), dashpot.L1(), sample_weight=COUNT[kept], **options)
    x[COUNT == 0], y[COUNT == 0] = torch.nan, torch.inf
    found = path(make, (x, y), dashpot.L1(), sample_weight=COUNT.tolist(), **options)
    equal = path(make, (x, y), dashpot.L1(), sample_weight=0.7 * (COUNT > 0), **options)
    none = path(make, (x[kept], y[kept]), dashpot.L1(), **options)
    assert not np.array_equal(found.fold_losses, none.fold_losses)
    for one, other in ((found, less), (equal, none)):
        assert (one.rows, one.strengths, one.one_se) == (len(kept), other.strengths, other.one_se)
        np.testing.assert_array_equal(one.fold_losses, other.fold_losses)
        np.testing.assert_array_equal(one.fold_scores, other.fold_scores)
        for state, wanted in zip(one.states, other.states, strict=True):
            assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_stability_selection_takes_weights() -> None:
    x, y = data()
    kept = np.flatnonzero(COUNT)
    options: dict[str, Any] = {"resamples": 8, "strength": 0.4}
    plain = stability_selection(linear(), (x, y), dashpot.L1(), **options)
    less = stability_selection(linear(), (x[kept], y[kept]), dashpot.L1(), sample_weight=COUNT[kept], **options)
    x[COUNT == 0] = torch.nan
    found = stability_selection(linear(), (x, y), dashpot.L1(), sample_weight=COUNT, **options)
    np.testing.assert_array_equal(found, less)
    assert not np.array_equal(found, plain)


def test_the_rows_that_weigh_most_say_which_column_is_stable() -> None:
    """Half the rows follow one column, half another one."""
    x = torch.from_numpy(NOISE[:, :8])
    y = torch.where(torch.arange(N) % 2 == 0, x[:, 0], x[:, 1])
    for column in (0, 1):
        weight = np.where(np.arange(N) % 2 == column, 1.0, 1e-6)
        found = stability_selection(linear(), (x, y), dashpot.L1(), sample_weight=weight, resamples=8)
        assert (found[column], found[1 - column]) == (1.0, 0.0)


def fails() -> nn.Module:
    raise AssertionError("no work before the weights are checked")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (WEIGHT[1:], r"one number for each of the 60 rows, got shape \[59\]"),
        (-WEIGHT, "sample_weight must be finite numbers >= 0"),
        (np.full(N, np.nan), "sample_weight must be finite numbers >= 0, got nan in row 1"),
        (np.zeros(N), "sample_weight must be above 0 in some row"),
        (["much"] * N, "sample_weight must be numbers"),
        (2.0, "sample_weight must be one number for each"),
    ],
)
@pytest.mark.parametrize("call", [path, stability_selection])
def test_bad_weights_are_refused_before_work(call: Callable[..., Any], weight: Any, message: str) -> None:
    with pytest.raises(dashpot.DataError, match=message):
        call(fails, data(), dashpot.L1(), sample_weight=weight)


@pytest.mark.parametrize("call", [path, stability_selection])
def test_a_third_part_of_the_data_is_refused(call: Callable[..., Any]) -> None:
    with pytest.raises(dashpot.DataError, match="data must be .x, y., got a tuple of 3. Give the weights of rows as"):
        call(fails, (*data(), WEIGHT), dashpot.L1())
