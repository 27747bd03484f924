"""``dashpot.fit`` and what stands around it, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.core.errors import DashpotError
from dashpot.evaluation.losses import metrics_of
from tests.cuda.helpers import DEVICE, GPU, PLACE, close, cuda, each, exact_products, network, same, table, weights

pytestmark = cuda

D: Any = dashpot
RECIPES: dict[str, Any] = {
    "none": None,
    "many": D.Mixup(alpha=0.3)
    | D.Dropout(p=0.2, on="name:4")
    | D.LabelSmoothing()
    | D.L1(strength=1e-3)
    | D.EMA(decay=0.9)
    | D.EarlyStopping(patience=4),
    "SAM": D.InputNoise(std=0.1) | D.L2(strength=1e-2) | D.SAM(rho=0.05) | D.GradientClipping(maximum=1.0),
    "groups": D.WeightDecay(strength=0.1) | D.GroupLasso(strength=1e-3, groups="columns", on="weights & ~name:5.*"),
}


def fit(model: nn.Module, data: Any, **options: Any) -> Any:
    settings = {"epochs": 6, "batch_size": 16, "lr": 0.01, "progress": False, "device": DEVICE} | options
    return dashpot.fit(model, data, **settings)


@each("name", list(RECIPES))
def test_learns_where_it_was_told_to(name: str) -> None:
    x, y = table(device="cpu")
    model = network(device="cpu")
    result = fit(model, (x, y), valid=(x, y), recipe=RECIPES[name], epochs=25)
    assert all(t.device.type == PLACE.type for t in model.state_dict().values())
    assert result.diverged is None
    assert max(row["val_accuracy"] for row in result.history) > 0.75


@each("name", [name for name in RECIPES if name != "SAM"])
def test_as_on_the_cpu(name: str) -> None:
    """Every draw is the same there; noise on inputs, which ``SAM`` has, is drawn by the device."""
    found = []
    for place in (DEVICE, "cpu"):
        model = network(device="cpu")
        fit(model, table(device="cpu"), recipe=RECIPES[name], epochs=3, device=place, valid=table(32, device="cpu"))
        found.append(weights(model))
    close(*found, tolerance=2e-3)


@each("name", list(RECIPES))
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(name: str, tmp_path: Any) -> None:
    class Stop(Exception):
        pass

    def stops(progress: float) -> float:
        if progress >= 0.45:
            raise Stop
        return 1 - progress

    data, options = table(), {"valid": table(32), "recipe": RECIPES[name], "seed": 4}
    whole = fit(network(), data, schedule=lambda t: 1 - t, **options)
    try:
        fit(network(), data, schedule=stops, checkpoint=tmp_path, **options)
    except Stop:
        pass
    else:
        raise AssertionError("it was not interrupted")
    torch.rand(5, device=DEVICE)
    parts = fit(network(), data, schedule=lambda t: 1 - t, checkpoint=tmp_path, resume=True, **options)
    assert same(weights(whole.model), weights(parts.model))
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in parts.history]


def test_a_models_own_dropout_depends_on_the_seed_only() -> None:
    def made() -> nn.Module:
        model = network()
        model.insert(3, nn.Dropout(0.3))
        return model

    first = weights(fit(made(), table(), seed=1).model)
    torch.rand(3, device=DEVICE)
    assert same(first, weights(fit(made(), table(), seed=1).model))
    assert not same(first, weights(fit(made(), table(), seed=2).model))


@each("where", [DEVICE, "cpu"])
def test_random_states_stay(where: str) -> None:
    """Also that of a GPU while training is on the CPU."""

    def drawn(train: bool) -> tuple[Tensor, Tensor]:
        torch.manual_seed(5)
        torch.rand(3, device=DEVICE)
        if train:
            fit(network(device="cpu"), table(device="cpu"), recipe=RECIPES["many"], valid=table(32), device=where)
        return torch.rand(4), torch.rand(4, device=DEVICE)

    assert same(drawn(True), drawn(False))


@each("workers", [0, 2])
def test_loaders(workers: int) -> None:
    """Their workers are forked after the device has been used."""
    torch.ones(3, device=DEVICE).sum()
    x, y = table(device="cpu")
    more: dict[str, Any] = {"persistent_workers": True} if workers else {}
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, num_workers=workers, pin_memory=GPU, **more)
    result = fit(network(device="cpu"), loader, recipe=D.L1(relative=0.01), epochs=15)
    assert result.history[-1]["train_accuracy"] > 0.75


@each("name", ["none", "many"])
def test_a_default_device_changes_nothing(name: str) -> None:
    """``torch.set_default_device`` makes every new tensor one of the device; what belongs on the CPU stays there."""
    data = table(device="cpu")
    for place in (DEVICE, "cpu"):
        plain = weights(fit(network(device="cpu"), data, recipe=RECIPES[name], valid=data, device=place).model)
        model = network(device="cpu")
        with torch.device(DEVICE):
            fit(model, data, recipe=RECIPES[name], valid=data, device=place)
        assert same(plain, weights(model))


def test_deterministic_algorithms_are_enough() -> None:
    x, y = table()
    torch.use_deterministic_algorithms(True, warn_only=False)
    try:
        out = nn.functional.one_hot(y, 3).float()
        assert metrics_of(out, y)["balanced_accuracy"] == 1.0
        assert metrics_of(out, (y + 1) % 3)["balanced_accuracy"] == 0.0
        Draws = D.core.rng.Draws
        assert len(Draws(1).permutation(5, DEVICE)) == 5
    finally:
        torch.use_deterministic_algorithms(False)
    assert x.device.type == PLACE.type


def test_a_loss_that_diverges_ends_with_the_epoch() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = network()
        result = fit(model, table(), lr=1e30, epochs=5)
    assert result.diverged
    assert all(bool(t.isfinite().all()) for t in model.state_dict().values())


def test_channels_last_images() -> None:
    """Weights and gradients of another layout."""

    def made() -> nn.Module:
        torch.manual_seed(0)
        parts = [
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        ]
        return nn.Sequential(*parts, nn.Linear(32, 3))

    x = torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, :, :4, :4].mean((2, 3))).argmax(1)
    recipe = (
        D.Mixup(alpha=0.2)
        | D.L2(strength=1e-3)
        | D.GroupLasso(strength=1e-3, groups="filters", on="weights & type:Conv2d")
    )
    recipe = recipe | D.EMA(decay=0.9) | D.GradientClipping(maximum=1.0)
    found = []
    with exact_products():
        for layout in (torch.channels_last, torch.contiguous_format):
            model = made().to(DEVICE, memory_format=layout)
            fit(model, (x.to(memory_format=layout), y), recipe=recipe, epochs=3)
            assert model[0].weight.is_contiguous(memory_format=layout)
            found.append(weights(model))
    close(*found, tolerance=2e-3)


def test_strengths_and_reports_of_a_model_on_the_device() -> None:
    x, y = table(device="cpu")
    far, near = network(), network(device="cpu")
    for model in (far, near):
        model.eval()
    for technique in (D.L1(), D.GroupLasso(groups="columns", on="name:0.weight")):
        mine, theirs = (D.max_strength(model, x, y, technique) for model in (far, near))
        assert abs(mine - theirs) <= 1e-3 * theirs
    recipe = D.resolve_strengths(D.L1(relative=0.1), far, (x, y))
    report = D.stationarity(far, (x, y), recipe)
    expected = D.stationarity(near, (x, y), recipe)
    assert all(abs(report[name] - value) < 1e-3 * (1 + value) for name, value in expected.items())


def test_a_path_of_networks() -> None:
    x, y = table(device="cpu")

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    penalty = D.GroupLasso(groups="columns", on="name:0.weight")
    result = D.path(make, (x, y), technique=penalty, points=4, cv=2, epochs=3, device=DEVICE)
    assert np.isfinite(result.loss).all()
    assert next(result.model().parameters()).device.type == "cpu"


def test_a_device_that_is_not_here() -> None:
    said = ""
    try:
        fit(network(device="cpu"), table(device="cpu"), device="cuda:63")
    except DashpotError as error:
        said = str(error)
    assert "device must be" in said
