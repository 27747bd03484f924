"""Soups, interpolation, recalibrated and folded batch normalization, against NumPy and torch."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import update_bn

import dashpot

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0, moved: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4), nn.BatchNorm1d(4)
    )
    return shaken(model) if moved else model


def shaken(model: Any) -> Any:
    """With statistics, scales and shifts that are not 0 and 1."""
    g = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.copy_(torch.randn(module.num_features, generator=g))
            module.running_var.copy_(0.2 + torch.rand(module.num_features, generator=g))
            if module.affine:
                nn.init.normal_(module.weight, generator=g)
                nn.init.normal_(module.bias, generator=g)
    return model


def test_a_uniform_soup_is_the_mean_and_leaves_its_parts_alone() -> None:
    models = [network(k, moved=True) for k in range(3)]
    before = [copy.deepcopy(m.state_dict()) for m in models]
    made = dashpot.soup(models)
    for name, tensor in made.state_dict().items():
        held = [state[name].double().numpy() for state in before]
        expected = np.mean(held, axis=0) if tensor.is_floating_point() else held[0]
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert not made.training
    assert all(torch.equal(m.state_dict()[n], t) for m, b in zip(models, before, strict=True) for n, t in b.items())
    states = dashpot.soup([m.state_dict() for m in models], weights=[2, 0, 2])
    torch.testing.assert_close(states["0.weight"], (models[0][0].weight + models[2][0].weight).detach() / 2)


def test_interpolation_goes_from_one_to_the_other() -> None:
    a, b = network(0), network(1)
    for alpha, expected in ((0.0, a[0].weight), (1.0, b[0].weight), (0.25, 0.75 * a[0].weight + 0.25 * b[0].weight)):
        torch.testing.assert_close(dashpot.interpolate(a, b, alpha)[0].weight, expected)


def test_a_greedy_soup_takes_only_what_helps() -> None:
    def constant(value: float) -> nn.Module:
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, value)
        return model

    # Best is 1: of 0.7, 1.4, 9 and 1.5 the mean of the first two is nearer than either, with the others further.
    models = [constant(v) for v in (1.4, 9.0, 0.7, 1.5)]
    found = dashpot.greedy_soup(models, lambda m: -abs(float(m.weight.detach()) - 1))
    assert found.chosen == (2, 0)
    assert float(found.model.weight.detach()) == pytest.approx(1.05)
    assert found.score == pytest.approx(-0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: dashpot.soup([]), "models must be at least one network"),
        (lambda: dashpot.soup([network(), nn.Linear(5, 7)]), r"models\[1\] must be of one shape: 0.weight"),
        (lambda: dashpot.soup([nn.Linear(2, 1), nn.Linear(3, 1)]), r"weight is \[1, 2\] in the first, got \[1, 3\]"),
        (lambda: dashpot.soup([network(), network()], weights=[1, -1]), "weights must be 2 finite numbers >= 0"),
        (lambda: dashpot.soup([network().state_dict()], data=X), "data must be None where states are given"),
        (lambda: dashpot.interpolate(network(), network(), 1.5), r"alpha must be a number in \[0, 1\]"),
        (lambda: dashpot.greedy_soup([], lambda m: 0.0), "models must be at least one network"),
        (
            lambda: dashpot.recalibrate(network(), X, batch_size=1),
            "batch_size must be a whole number >= 2, finite, got 1",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call: Any, told: str) -> None:
    with pytest.raises(dashpot.ConfigError, match=told):
        call()


def test_recalibrated_as_torch_does_with_batches_of_one_size() -> None:
    """Of one batch each: with several the order of rows differs. Dropout rests in both."""
    mine, theirs = network(moved=True), network(moved=True)
    theirs[3].p = 0.0  # torch's leaves dropout on
    before = copy.deepcopy(mine.state_dict())
    dashpot.recalibrate(mine, (X, torch.zeros(64)), batch_size=64)
    update_bn([(X,)], theirs)
    for name, tensor in mine.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=1e-5, atol=1e-6)
            assert not torch.equal(tensor, before[name])
        elif "num_batches" not in name:
            assert torch.equal(tensor, before[name]), name
    assert mine.training
    assert mine[1].momentum == 0.1


def test_each_batch_weighs_as_many_rows_as_it_has() -> None:
    """Batches of 48 and 16 rows: the running mean is that of all rows, which the mean of two batches' means is not."""
    model = nn.Sequential(nn.BatchNorm1d(5, affine=False))
    dashpot.recalibrate(model, X, batch_size=48)
    np.testing.assert_allclose(model[0].running_mean.numpy(), X.double().mean(0).numpy(), rtol=1e-4, atol=1e-6)


def test_frozen_statistics_and_models_without_any_are_left_alone() -> None:
    model = network(moved=True).train()
    model[1].eval()
    frozen, other = model[1].running_mean.clone(), model[5].running_mean.clone()
    dashpot.recalibrate(model, X)
    assert torch.equal(model[1].running_mean, frozen)
    assert not torch.equal(model[5].running_mean, other)
    plain = nn.Linear(2, 2)
    assert dashpot.recalibrate(plain, None) is plain


def test_one_row_is_refused_and_the_statistics_stay() -> None:
    model = network(moved=True)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(dashpot.DataError, match="at least two rows, got one of one row"):
        dashpot.recalibrate(model, X[:1])
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())


def test_an_average_without_new_statistics_is_wrong_and_with_them_right() -> None:
    """Two networks whose hidden units differ in scale: the mean of the statistics is not that of the mean weights."""
    a, b = network(0), network(0)
    nn.init.zeros_(a[0].bias)
    nn.init.zeros_(b[0].bias)
    with torch.no_grad():
        b[0].weight.mul_(-3.0)
    for model in (a, b):
        dashpot.recalibrate(model, X, batch_size=64)

    def off(model: nn.Module) -> float:
        """How far hidden units are from mean 0 and variance 1."""
        hidden = model[1](model[0](X)).detach()  # type: ignore[index]  # a Sequential
        return float((hidden.var(0) - 1).abs().max())

    assert off(dashpot.soup([a, b])) > 0.5
    assert off(dashpot.soup([a, b], data=(X, torch.zeros(64)))) < 0.02


class Branches(nn.Module):
    """A convolution with a normalization, one whose outputs are used twice, and one behind an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.BatchNorm2d(6)
        self.twice, self.after_twice = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.last = nn.BatchNorm2d(6, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.norm(self.conv(x)))
        t = self.twice(h)
        out: Tensor = self.last(torch.relu(self.after_twice(t) + t))
        return out


class Odd(nn.Module):
    """torch.fx cannot trace it: what runs depends on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7), nn.Linear(7, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) if x.sum() > -1e9 else x
        return out


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("model", "x", "left"),
    [
        (network, X, 0),
        (lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.Dropout(), nn.BatchNorm1d(7, affine=False)), X, 0),
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), IMAGES, 0),
        (lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 3, groups=3, stride=2), nn.BatchNorm2d(6)), IMAGES, 0),
        (lambda: nn.Sequential(nn.Conv1d(8, 6, 3), nn.BatchNorm1d(6)), IMAGES[:, 0], 0),
        (lambda: nn.Sequential(nn.Conv1d(8, 6, 3, groups=2, padding=1), nn.BatchNorm1d(6)), IMAGES[:, 0], 0),
        (lambda: nn.Sequential(nn.Conv3d(1, 4, 2, bias=False), nn.BatchNorm3d(4)), IMAGES[:, None], 0),
        (lambda: nn.Sequential(nn.ConvTranspose1d(8, 6, 3, groups=2), nn.BatchNorm1d(6)), IMAGES[:, 0], 0),
        (lambda: nn.Sequential(nn.ConvTranspose3d(1, 4, 2), nn.BatchNorm3d(4, affine=False)), IMAGES[:, None], 0),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(5)), X, 1),
        (lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7, track_running_stats=False)), X, 1),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 7)), nn.BatchNorm1d(7)), X, 1),
        (Branches, IMAGES, 2),
        (Odd, X, 0),
    ],
)
def test_folded_normalizations_give_the_same_outputs(model: Any, x: Tensor, left: int) -> None:
    torch.manual_seed(0)
    made = model().double()
    shaken(made)
    before = copy.deepcopy(made.state_dict())
    folded = dashpot.fold_batch_norm(made)
    torch.testing.assert_close(folded(x.double()), made.eval()(x.double()), rtol=1e-6, atol=1e-6)
    assert sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.modules()) == left
    assert all(torch.equal(made.state_dict()[name], t) for name, t in before.items())


def test_folded_as_torch_does() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)).double().eval()
    shaken(model)
    mine, theirs = dashpot.fold_batch_norm(model)[0], fuse_conv_bn_eval(model[0], model[1])
    torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(mine.bias, theirs.bias, rtol=1e-12, atol=1e-14)


def test_a_layer_with_two_places_is_not_folded() -> None:
    shared = nn.Linear(5, 5)
    model = nn.Sequential(shared, nn.BatchNorm1d(5), shared, nn.BatchNorm1d(5)).eval()
    shaken(model)
    folded = dashpot.fold_batch_norm(model)
    torch.testing.assert_close(folded(X), model(X))
    assert sum(isinstance(m, nn.BatchNorm1d) for m in folded) == 2
