"""A size that is asked for, without training: which units leave, and that times are measured."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.shrinking.beside import beside
from dashpot.shrinking.costs import Cost, Held
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, own_seconds, rows_like
from tests.shrinking.zoo import ZOO


def perceptron(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3)
    )


@pytest.mark.parametrize("to", ["300 parameters", "0.5x parameters", "0.3x macs", "2 kB"])
@pytest.mark.parametrize("name", ["perceptron", "residual", "ours for images"])
def test_the_size_is_reached_and_not_missed_by_much(name: str, to: str) -> None:
    make, example = ZOO[name]
    torch.manual_seed(0)
    model = make()
    target, _ = Target.parse("to", to)
    full = getattr(dashpot.shrink(model, example()).before, target.measure)
    if not target.relative:
        target = Target(0.4 * full, False, target.measure)
        to = f"{target.amount:.0f} {target.measure}"
    small = dashpot.shrink_to(model, example(), to)
    size = getattr(small.after, target.measure)
    assert size <= target.of(full)
    assert size >= 0.8 * target.of(full)  # units of small nets are large
    assert getattr(small.before, target.measure) == full
    assert small.changed is not None
    assert small.changed > 0


def test_the_units_of_the_smallest_weights_leave_first() -> None:
    """One layer, units of the same cost: those that stay are the largest by their own rows and biases."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 30), nn.Tanh(), nn.Linear(30, 2))
    with torch.no_grad():
        rows = torch.cat([model[0].weight, model[0].bias[:, None]], 1)
        order = rows.square().sum(1).argsort(descending=True)
    small = dashpot.shrink_to(model, torch.randn(2, 5), "0.4x parameters")
    left = small.model[0].out_features
    assert left == int((0.4 * 242 - 2) // 8)  # 5 + 1 + 2 weights go with a unit, and two biases stay
    assert small.plan.kept["0.weight"][0].tolist() == sorted(order[:left].tolist())
    x = torch.randn(50, 5)
    masked = model[2](torch.tanh(model[0](x)) * torch.isin(torch.arange(30), order[:left]))
    torch.testing.assert_close(small.model(x), masked, atol=1e-5, rtol=1e-5)


def test_units_that_cost_more_leave_first() -> None:
    """Two layers of equal weights, one of which reads pictures of many more places."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.ReLU(), nn.MaxPool2d(8), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
    )
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.weight.fill_(0.1)
            layer.bias.fill_(0.1)
    small = dashpot.shrink_to(model, torch.randn(2, 1, 8, 8), "0.8x macs")
    assert small.model[0].out_channels < 8
    assert small.model[3].out_channels == 8


def test_bad_sizes_are_refused() -> None:
    x = torch.randn(2, 6)
    with pytest.raises(ConfigError, match="to must be a size such as"):
        dashpot.shrink_to(perceptron(), x, "3 frogs")
    for to in ("0.5x faster", "2x faster at batch 0", "2 faster", "1.5x macs"):
        with pytest.raises(ConfigError, match="to must be a size such as"):
            dashpot.shrink_to(perceptron(), x, to)
    with pytest.raises(
        ConflictError, match=r"asks for 5 parameters, and Sequential has \d+ with one unit in each layer"
    ):
        dashpot.shrink_to(perceptron(), x, "5 parameters")
    with pytest.raises(ConflictError, match="no units that may leave"):
        dashpot.shrink_to(nn.Linear(6, 2), x, "0.5x parameters")


def test_a_time_is_read_and_written_in_one_form() -> None:
    assert Target.parse("to", "2X  faster") == (Target(0.5, True, "time"), "2x faster")
    assert Target.parse("to", "4x faster at batch 1") == (Target(0.25, True, "time", 1), "4x faster at batch 1")
    assert Target.parse("to", "2.5x faster at batch 64")[1] == "2.5x faster"
    assert dashpot.Compress(to="3 x faster").to == "3x faster"


def test_timing_changes_nothing_of_the_networks_and_of_threads() -> None:
    model, x = perceptron().train(), torch.randn(5, 6)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    (seconds,) = latencies([(model, ((x,), {}))])
    (parts,) = own_seconds([(model, ((x,), {}))])
    assert seconds > 0
    assert set(parts) == {name for name, _ in model.named_modules()}
    assert model.training
    assert model[1].training
    assert torch.get_num_threads() == threads
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_rows_are_repeated() -> None:
    x = torch.arange(4.0).reshape(2, 2)
    (one,), kwargs = rows_like((x,), {"scale": torch.tensor(2.0), "mask": x > 0}, 5)
    assert one.tolist() == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]
    assert kwargs["mask"].shape == (5, 2)
    assert kwargs["scale"].ndim == 0


def test_each_layer_beside_itself_by_hand() -> None:
    model, x = perceptron(), torch.randn(2, 6)
    small = dashpot.shrink_to(model, x, "0.5x parameters").model
    found = beside(model, small, (x,), {})
    named = {layer["name"]: layer for layer in found["by_layer"]}
    assert set(named) == {"0", "1", "3", "5"}
    for net, k in ((model, 0), (small, 1)):
        for at in ("0", "3", "5"):
            layer = net[int(at)]
            assert named[at]["parameters"][k] == layer.in_features * layer.out_features + layer.out_features
            assert named[at]["macs"][k] == layer.in_features * layer.out_features
            assert named[at]["bytes"][k] == 4 * named[at]["parameters"][k]
        assert named["1"]["parameters"][k] == 2 * net[1].num_features
        assert named["1"]["bytes"][k] == 16 * net[1].num_features + 8  # statistics, and a count of 8 bytes
    assert all(value > 0 for pair in found["latency"].values() for value in pair)
    assert set(found["latency"]) == {"1", "64"}


def test_a_cost_counts_products_of_units() -> None:
    """Against counting each weight by itself."""
    draw = np.random.default_rng(1)
    ids = draw.integers(0, 5, 7), draw.integers(0, 5, 6)
    cost = Cost((Held(2.0, 3, ids),), 1.0, 4)
    there = np.array([True, False, True, True])
    counted = sum(
        6.0 for a, b in itertools.product(*ids) if (a == 4 or there[min(a, 3)]) and (b == 4 or there[min(b, 3)])
    )
    assert cost.size(there) == 1.0 + counted
