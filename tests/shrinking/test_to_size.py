"""A size that is asked for, without training: which units leave, and that times are measured."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConfigError, ConflictError
from dashpot.shrinking import time_cost as timing_model
from dashpot.shrinking.beside import beside
from dashpot.shrinking.channels import Channels, channels_of
from dashpot.shrinking.costs import Cost, Held
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, own_seconds, rows_like
from dashpot.techniques.penalties import in_time
from dashpot.training.training import Training
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks take as long as they have multiply-adds, and a hundred more; layers likewise without the hundred."""

    def macs(model: nn.Module) -> float:
        return float(sum(p.numel() for p in model.parameters() if p.ndim > 1))

    def whole(pairs: list, repeats: int = 0) -> list[float]:
        return [macs(model) + 100 for model, _ in pairs]

    def parts(model: nn.Module, given: object, repeats: int = 0) -> dict[str, float]:
        return {name: macs(module) for name, module in model.named_modules() if isinstance(module, nn.Linear)}

    monkeypatch.setattr(timing_model, "latencies", whole)
    monkeypatch.setattr(timing_model, "own_seconds", parts)
    monkeypatch.setattr("dashpot.shrinking.to_size.latencies", whole)
    monkeypatch.setattr("dashpot.training.compressing.latencies", whole)


@pytest.mark.usefixtures("clock")
def test_the_cost_of_time_is_what_a_clock_says() -> None:
    """A clock that counts weights: the cost is right for every choice of units, not only for the two it has seen."""
    model, x = perceptron(), torch.randn(2, 6)
    channels = channels_of(model, (x,), {}, [name for name, _ in model.named_parameters()])
    cost = timing_model.time_cost(model, channels, 64, 0.5)
    draw = np.random.default_rng(0)
    for _ in range(5):
        there = draw.random(channels.count) < 0.6
        first, second = there[:40].sum(), there[40:].sum()
        assert cost.size(there) == pytest.approx(6 * first + first * second + second * 3 + 100, rel=0.02)


@pytest.mark.usefixtures("clock")
def test_a_network_becomes_as_much_faster_as_asked_for() -> None:
    model, x = perceptron(), torch.randn(2, 6)
    small = dashpot.shrink_to(model, x, "3x faster")
    weights = sum(p.numel() for p in small.model.parameters() if p.ndim > 1) + 100
    before = 6 * 40 + 40 * 24 + 24 * 3 + 100
    assert before / weights >= 3
    assert before / weights <= 3.4
    assert small.faster == (before / weights, 64)
    assert "3." in small.summary()
    with pytest.raises(ConflictError, match="cannot be reached.*times as fast at batch 64"):
        dashpot.shrink_to(model, x, "20x faster")  # the hundred stays


@pytest.mark.usefixtures("clock")
def test_training_steers_to_a_time() -> None:
    model, draw = perceptron(), torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)
    result = dashpot.fit(model, (x, y), recipe=dashpot.Compress(to="2x faster"), epochs=8, progress=False)
    weights = sum(p.numel() for p in result.model.parameters() if p.ndim > 1) + 100
    before = 6 * 40 + 40 * 24 + 24 * 3 + 100
    assert 1.95 <= before / weights <= 2.3
    with pytest.raises(ConflictError, match=r"Compress\(to='30x faster'\) cannot be reached"):
        dashpot.fit(perceptron(), (x, y), recipe=dashpot.Compress(to="30x faster"), epochs=2, progress=False)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("overhead", "expected"), [(100, 1), (400, 3), (5000, 6)])
def test_a_network_that_is_measured_to_be_too_slow_loses_further_units(
    overhead: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock by which the trained network has another overhead than the one that was timed at first: by 5,000 no
    network is twice as fast, and a tenth of it goes each time.
    """
    ratios: list[float] = []

    def truth(whole: nn.Module, model: nn.Module, channels: Channels, there: np.ndarray, batch: int) -> float:
        first, second = int(there[:40].sum()), int(there[40:].sum())
        weights = 6 * first + first * second + second * 3
        ratios.append((6 * 40 + 40 * 24 + 24 * 3 + overhead) / (weights + overhead))
        return ratios[-1]

    monkeypatch.setattr(in_time, "times_as_fast", truth)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)
    result = dashpot.fit(perceptron(), (x, y), recipe=dashpot.Compress(to="2x faster"), epochs=8, progress=False)
    assert len(ratios) >= expected
    assert len(ratios) <= 6
    weights = sum(p.numel() for p in result.model.parameters() if p.ndim > 1)
    assert ratios[-1] >= 2 or overhead == 5000
    assert ratios[-1] <= 2.1
    if overhead == 5000:
        assert weights + 100 >= 0.8 * 0.9**6 * (6 * 40 + 40 * 24 + 24 * 3 + 100) / 2
    else:
        assert (6 * 40 + 40 * 24 + 24 * 3 + overhead) / (weights + overhead) == ratios[-1]
    assert result.shrunk is not None
    assert result.shrunk.faster == ((6 * 40 + 40 * 24 + 24 * 3 + 100) / (weights + 100), 64)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("ends", [3, 6])
def test_a_training_to_a_time_is_resumed_on_a_machine_twice_as_slow(
    ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed on its way, or after cuts: what it steers to is by the clock of now."""
    monkeypatch.setattr("dashpot.training.compressing.PAYS", 1.0)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)

    def fit(resume: bool) -> dashpot.FitResult:
        torch.manual_seed(0)
        recipe = dashpot.Compress(to="2x faster")
        return dashpot.fit(
            perceptron(), (x, y), recipe=recipe, epochs=8, progress=False, checkpoint=tmp_path / "run", resume=resume
        )

    def stop(self: Training) -> bool:
        if len(self.history) == ends:
            raise KeyboardInterrupt  # by which what was trained is saved
        return bool(epoch(self))

    epoch = Training.epoch
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Training, "epoch", stop)
        fit(False)
    quick = timing_model.latencies
    for place in ("dashpot.shrinking.time_cost", "dashpot.training.compressing"):
        monkeypatch.setattr(f"{place}.latencies", lambda pairs, repeats=0: [2 * t for t in quick(pairs)])
    parts = timing_model.own_seconds
    monkeypatch.setattr(
        timing_model, "own_seconds", lambda net, given, repeats=0: {n: 2 * t for n, t in parts(net, given).items()}
    )
    result = fit(True)
    weights = sum(p.numel() for p in result.model.parameters() if p.ndim > 1) + 100
    assert 1.95 <= (6 * 40 + 40 * 24 + 24 * 3 + 100) / weights <= 2.3
    assert len(result.history) == 8


def test_timing_changes_nothing_of_the_networks_and_of_threads() -> None:
    model, x = perceptron().train(), torch.randn(5, 6)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    (seconds,) = latencies([(model, ((x,), {}))])
    parts = own_seconds(model, ((x,), {}))
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
