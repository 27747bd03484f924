"""A time that is asked for: what layers cost by a clock, and that training steers to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.errors import ConflictError
from dashpot.shrinking import time_cost as timing_model
from dashpot.shrinking.channels import Channels, channels_of
from dashpot.techniques.penalties import in_time
from dashpot.training.training import Training


def perceptron(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3)
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks take as long as they have multiply-adds, and a hundred more; layers likewise without the hundred."""

    def macs(model: nn.Module) -> float:
        return float(sum(p.numel() for p in model.parameters() if p.ndim > 1))

    def whole(pairs: list, repeats: int = 0) -> list[float]:
        return [macs(model) + 100 for model, _ in pairs]

    def parts(pairs: list, repeats: int = 0) -> list[dict[str, float]]:
        found = [{n: macs(m) for n, m in model.named_modules() if isinstance(m, nn.Linear)} for model, _ in pairs]
        return [{**own, "": 100.0} for own in found]

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
    network is twice as fast, and on the way at most a third goes for it, then a tenth each time.
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
    assert len(ratios) <= 6 + 3
    weights = sum(p.numel() for p in result.model.parameters() if p.ndim > 1)
    assert ratios[-1] >= 2 or overhead == 5000
    assert ratios[-1] <= 2.1
    if overhead == 5000:
        assert weights + 100 >= 0.8 * 0.9**6 / 1.5 * (6 * 40 + 40 * 24 + 24 * 3 + 100) / 2
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
        timing_model, "own_seconds", lambda pairs: [{n: 2 * t for n, t in own.items()} for own in parts(pairs)]
    )
    result = fit(True)
    weights = sum(p.numel() for p in result.model.parameters() if p.ndim > 1) + 100
    assert 1.95 <= (6 * 40 + 40 * 24 + 24 * 3 + 100) / weights <= 2.3
    assert len(result.history) == 8


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_leave_on_the_way_whatever_the_unit_of_time(unit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that counts microseconds, seconds or something else takes the same units at the same steps."""
    whole, parts = timing_model.latencies, timing_model.own_seconds
    monkeypatch.setattr(timing_model, "latencies", lambda pairs: [unit * t for t in whole(pairs)])
    monkeypatch.setattr(
        timing_model, "own_seconds", lambda pairs: [{n: unit * t for n, t in own.items()} for own in parts(pairs)]
    )
    gone: list[int] = []
    step = dashpot.Compress.on_step

    def watch(self: dashpot.Compress, params: Any, ctx: Any) -> None:
        step(self, params, ctx)
        gone.append(len(ctx.state["gone"]))

    monkeypatch.setattr(dashpot.Compress, "on_step", watch)
    monkeypatch.setattr("dashpot.training.compressing.PAYS", float("inf"))
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)
    torch.manual_seed(0)
    dashpot.fit(perceptron(), (x, y), recipe=dashpot.Compress(to="3x faster"), epochs=10, progress=False, seed=0)
    end = len(gone) // 2
    assert 0.3 * gone[-1] < gone[end * 3 // 4] < gone[-1]
    assert gone[end - 2] > 0.8 * gone[-1]  # few are left for the last step, after which nothing has time to learn


@pytest.mark.usefixtures("clock")
def test_a_network_that_is_slower_than_expected_loses_units_earlier_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which everything but the full network takes a tenth longer than was timed at first."""
    sizes: list[float] = []

    def truth(whole: nn.Module, model: nn.Module, channels: Channels, there: np.ndarray, batch: int) -> float:
        share = channels.costs["time"].size(there) / channels.costs["time"].size(np.ones(channels.count, bool))
        sizes.append(1.1 * share)
        return 1 / sizes[-1]

    monkeypatch.setattr(in_time, "times_as_fast", truth)
    monkeypatch.setattr("dashpot.training.compressing.PAYS", float("inf"))
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)
    dashpot.fit(perceptron(), (x, y), recipe=dashpot.Compress(to="2x faster"), epochs=20, progress=False)
    assert len(sizes) >= 4
    assert sizes[3] == pytest.approx(0.5, rel=0.05)  # at the end of the way nothing is to be made good any more
    assert sizes[-1] <= 0.5


@pytest.mark.usefixtures("clock")
def test_units_that_make_nothing_faster_stay_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which calls take all the time: after two cuts in vain at the end no third one comes."""
    counts: list[int] = []

    def truth(whole: nn.Module, model: nn.Module, channels: Channels, there: np.ndarray, batch: int) -> float:
        counts.append(int(there.sum()))
        return 1.25

    monkeypatch.setattr(in_time, "times_as_fast", truth)
    monkeypatch.setattr("dashpot.training.compressing.PAYS", float("inf"))
    monkeypatch.setattr("dashpot.training.compressing.latencies", lambda pairs: [1.25, 1.0])
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 6, generator=draw), torch.randint(3, (256,), generator=draw)
    with pytest.warns(UserWarning, match="came to 1.25 times as fast, measured at batch 64"):
        dashpot.fit(perceptron(), (x, y), recipe=dashpot.Compress(to="2x faster"), epochs=20, progress=False)
    assert len(counts) == 3 + 3  # three on the way, and at the end one and after each of two cuts
    assert counts[-1] < counts[-3]
