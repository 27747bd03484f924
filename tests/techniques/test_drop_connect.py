"""DropConnect against layers with weights masked by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream
from dashpot.dropout import DropConnect


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def masked(module: nn.Module, name: str, leaf: str, p: float, call: int = 0) -> None:
    """The module with the weights that the first step and this call keep, by the definition."""
    w = getattr(module, leaf)
    key = derive(stream(stream(3, "drop-connect"), f"{name}.{leaf}"), 0, call)
    u = uniform_by([key], math.prod(w.shape))[0].reshape(w.shape)
    with torch.no_grad():
        w.mul_((u >= p) / (1 - p))


LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(5, 4), (3, 5)),
    (nn.Conv1d(2, 3, 3), (2, 2, 6)),
    (nn.Conv2d(2, 4, 3, groups=2), (2, 2, 5, 5)),
    (nn.ConvTranspose2d(2, 3, 3), (2, 2, 4, 4)),
]


@pytest.mark.parametrize(("layer", "size"), LAYERS, ids=lambda v: type(v).__name__)
def test_a_layer_is_that_with_masked_weights(layer: nn.Module, size: tuple[int, ...]) -> None:
    model = nn.Sequential(copy.deepcopy(layer), nn.Flatten()).train()
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    own = model[0].weight.detach().clone()
    with DropConnect(0.4, on="name:0").attach(model, sgd(model), seed=3):
        for call in range(2):
            twin = nn.Sequential(copy.deepcopy(layer), nn.Flatten())
            masked(twin[0], "0", "weight", 0.4, call)
            kept = twin[0].weight != 0
            model.zero_grad()
            outs = [one(x) for one in (model, twin)]
            torch.testing.assert_close(*outs)
            for out in outs:
                out.square().sum().backward()
            torch.testing.assert_close(model[0].weight.grad, twin[0].weight.grad * kept / 0.6)
        assert torch.equal(model[0].weight, own)
        assert torch.equal(model.eval()(x), nn.Sequential(copy.deepcopy(layer), nn.Flatten())(x))
    assert "weight" not in model[0].__dict__


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_weights_are_dropped_the_same_at_all_steps(kind: Any) -> None:
    model = nn.ModuleDict({"layer": kind(3, 4, num_layers=2, batch_first=True)}).train()
    twin = copy.deepcopy(model)
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with DropConnect(0.5, on="type:RNNBase").attach(model, sgd(model), seed=3):
        out = model["layer"](x)[0]
        out.sum().backward()
        plain = model.eval()["layer"](x)[0]
    for leaf in ("weight_hh_l0", "weight_hh_l1"):
        masked(twin["layer"], "layer", leaf, 0.5)
    torch.testing.assert_close(out, twin["layer"](x)[0])
    assert not torch.equal(out, plain)
    assert all(p.grad is not None for p in model.parameters())


def test_weights_are_dropped_at_the_rate() -> None:
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.ReLU(), nn.Linear(100, 1)).train()
    nn.init.ones_(model[0].weight)
    with DropConnect(0.3).attach(model, sgd(model)):
        kept = model[0](torch.eye(100)).detach()
    assert binomtest(int((kept == 0).sum()), 10_000, 0.3).pvalue > 1e-9
    torch.testing.assert_close(kept[kept != 0], torch.full((int((kept != 0).sum()),), 1 / 0.7))


def test_an_error_inside_leaves_the_layer_whole() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).train()
    with DropConnect(0.5).attach(model, sgd(model)):
        with pytest.raises(RuntimeError):
            model(torch.ones(2, 5))
        assert isinstance(model[0].weight, nn.Parameter)
        copied = copy.deepcopy(model)
    assert not copied[0]._forward_pre_hooks
    assert not model[0]._forward_hooks


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 2)).train()
    x = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    with DropConnect(0.5).attach(model, sgd(model)) as session:
        whole = model(x)
        session.run.rewind()
        with torch.autocast("cpu", dtype=dtype):
            low = model(x)
    assert low.dtype == dtype
    torch.testing.assert_close(low.float(), whole, rtol=0.05, atol=0.05)


def test_noise_of_weights_is_masked_whatever_the_order() -> None:
    x, found = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), []
    first = nn.Linear(5, 40)
    noise, drop = dashpot.noise.WeightNoise(std=1.0), DropConnect(0.5, on="type:Linear")
    for recipe in (drop | noise, noise | drop, drop | dashpot.noise.WeightNoise(std=0.0)):
        model = nn.Sequential(copy.deepcopy(first)).train()
        with recipe.attach(model, sgd(model)):
            found.append(model(x).detach())
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_the_output_layer_is_left_out_unless_it_is_named() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 2))
    for on, told in (
        ("linears | convolutions", "of 2 layers: 0, 2"),
        ("linears", "of 1 layers: 2"),
        ("type:Linear", "of 2 layers: 2, 4"),
    ):
        with DropConnect(0.1, on=on).attach(model, sgd(model)) as session:
            assert told in str(session.plan())


@pytest.mark.parametrize(
    ("model", "on", "told"),
    [
        (nn.Sequential(nn.Linear(4, 2)), "linears", "matches no module.*unless `on` names it"),
        (nn.Sequential(nn.Linear(4, 2), nn.ReLU()), "type:ReLU", r"cannot act on '1' \(ReLU\)"),
        (nn.Sequential(nn.Linear(4, 2), nn.ReLU()), "type:Linaer", "Did you mean type:Linear"),
        (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))),
            "name:0",
            "WeightNorm computes its weight from other",
        ),
    ],
)
def test_what_it_cannot_act_on_is_refused(model: nn.Module, on: Any, told: str) -> None:
    with pytest.raises(dashpot.ConflictError, match=told):
        DropConnect(0.1, on=on).attach(model, sgd(model))
