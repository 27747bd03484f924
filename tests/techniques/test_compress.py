"""Compress: the size that was asked for, in fit, in loops, beside other techniques, resumed; and channel lasso."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.shrinking.channels import channels_of
from dashpot.techniques.penalties.compress import planned_size
from dashpot.techniques.penalties.target_size import Target


class Residual(nn.Module):
    """A stem, two branches with batch norm, and a head."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1, bias=False)  # noqa: E731
        self.stem, self.norm = conv(1, width), nn.BatchNorm2d(width)
        self.first = nn.ModuleList(conv(width, width) for _ in range(2))
        self.second = nn.ModuleList(conv(width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(4))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        for k in range(2):
            y = self.norms[2 * k](self.first[k](x)).relu()
            x = (x + self.norms[2 * k + 1](self.second[k](y))).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 2))
    )


def table() -> tuple[Tensor, Tensor]:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] * x[:, 1] > 0).long()


def pictures() -> tuple[Tensor, Tensor]:
    x = torch.randn(192, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = torch.arange(192) % 3
    x[torch.arange(192), 0, 2 * y] += 2
    return x, y


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def fitted(model: nn.Module, data: Any, recipe: Any, **options: Any) -> dashpot.FitResult:
    chosen: dict[str, Any] = {"epochs": 8, "batch_size": 32, "lr": 1e-2, "progress": False, **options}
    return dashpot.fit(model, data, recipe=recipe, **chosen)


@pytest.mark.parametrize("to", ["500 parameters", "0.3x parameters", "0.25x macs", "0.4x bytes"])
def test_a_perceptron_has_the_size_asked_for(to: str) -> None:
    result = fitted(perceptron(), table(), dashpot.Compress(to=to))
    assert result.shrunk is not None
    target, _ = Target.parse("to", to)
    wanted = target.of(getattr(result.shrunk.before, target.measure))
    assert 0.95 * wanted <= getattr(result.shrunk.after, target.measure) <= wanted
    x = table()[0]
    assert result.large is not None
    assert result.model is result.shrunk.model
    torch.testing.assert_close(result.model(x), result.large(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", ["4k parameters", "0.5x macs"])
def test_a_residual_network_has_the_size_asked_for(to: str) -> None:
    torch.manual_seed(0)
    result = fitted(Residual(), pictures(), dashpot.Compress(to=to))
    assert result.shrunk is not None
    target, _ = Target.parse("to", to)
    wanted = target.of(getattr(result.shrunk.before, target.measure))
    assert 0.95 * wanted <= getattr(result.shrunk.after, target.measure) <= wanted
    assert result.history[-1]["train_accuracy"] > 0.9


def test_beside_an_average_sharpness_and_early_stopping() -> None:
    recipe = (
        dashpot.Compress(to="0.3x parameters") | dashpot.EMA(0.9) | dashpot.SAM() | dashpot.EarlyStopping(patience=2)
    )
    result = fitted(perceptron(), table(), recipe, valid=table(), epochs=10)
    assert result.shrunk is not None
    full = result.shrunk.before.parameters
    assert 0.95 * 0.3 * full <= count(result.model) <= 0.3 * full
    assert result.best_epoch is not None
    assert result.best_epoch > 4  # by half of ten epochs the size is reached, and no epoch before counts


def test_no_epoch_counts_before_the_size_is_reached() -> None:
    recipe = dashpot.Compress(to="0.3x parameters", by="3steps") | dashpot.EarlyStopping(patience=1)
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = table()
    with recipe.attach(model, optimizer) as session:
        verdicts = []
        for step in range(5):
            verdicts.append(session.epoch({"val_loss": float(step)}))
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert [v.best for v in verdicts] == [False, False, False, True, False]
        assert [v.stop for v in verdicts] == [False, False, False, False, True]


def test_a_resumed_run_is_the_whole_one(tmp_path: Path) -> None:
    """Cut off before and after the size is reached."""
    recipe = dashpot.Compress(to="0.3x parameters") | dashpot.EMA(0.9)
    whole = fitted(perceptron(), table(), recipe, epochs=6)

    class Off(Exception):
        pass

    for last in (2, 5):
        folder = tmp_path / str(last)
        rows = itertools.count()

        def rate(progress: float, last: int = last, rows: Any = rows) -> float:
            if next(rows) == last * 8 + 3:
                raise Off
            return 1.0 - progress

        steady = lambda progress: 1.0 - progress  # noqa: E731
        reference = fitted(perceptron(), table(), recipe, epochs=6, schedule=steady)
        with pytest.raises(Off):
            fitted(perceptron(), table(), recipe, epochs=6, schedule=rate, checkpoint=folder)
        again = fitted(perceptron(), table(), recipe, epochs=6, schedule=steady, checkpoint=folder, resume=True)
        state, other = again.model.state_dict(), reference.model.state_dict()
        assert state.keys() == other.keys()
        assert all(torch.equal(t, other[name]) for name, t in state.items())
        # What is over is resumed without a step, and is as small.
        over = fitted(perceptron(), table(), recipe, epochs=6, schedule=steady, checkpoint=folder, resume=True)
        assert all(torch.equal(t, other[name]) for name, t in over.model.state_dict().items())
    assert whole.shrunk is not None


def test_a_loop_of_ones_own() -> None:
    torch.manual_seed(0)
    model = Residual()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = pictures()
    with dashpot.Compress(to="0.4x parameters", by=0.6).attach(model, optimizer, steps=30) as session:
        for step in range(30):
            rows = torch.arange(32 * step, 32 * step + 32) % len(x)
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        assert "0.4x parameters by 60% of the run" in session.plan()
    small = dashpot.shrink(model, x[:2])
    assert 0.95 * 0.4 * count(model) <= count(small.model) <= 0.4 * count(model)


def test_units_leave_by_the_plan_and_stay_away() -> None:
    """At each step the size is at most a unit or a few ahead of the plan, and what is zero stays zero."""
    model, (x, y) = perceptron(), table()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    channels = channels_of(model, (x[:2],), {}, [name for name, _ in model.named_parameters()])
    full, steps = count(model), 40
    gone: set[int] = set()
    largest = max(channels.costs["parameters"].leaving(np.ones(channels.count, bool)))
    with dashpot.Compress(to="0.3x parameters").attach(model, optimizer, steps=steps):
        for step in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            tensors = {name: p.detach() for name, p in model.named_parameters()}
            zero = [bucket.rows(tensors).abs().sum(1) == 0 for bucket in channels.buckets]
            now = {int(u) for u in torch.cat(zero).nonzero()[:, 0]}
            assert gone <= now
            gone = now
            there = np.array([unit not in gone for unit in range(channels.count)])
            wanted = full ** (1 - min((step + 1) / 20, 1)) * (0.3 * full) ** min((step + 1) / 20, 1)
            assert channels.costs["parameters"].size(there) >= wanted - largest
            if step >= 19:
                assert channels.costs["parameters"].size(there) <= 0.3 * full


def lines(tensors: dict[str, Tensor], names: tuple[str, ...]) -> np.ndarray:
    """What belongs to each unit of a layer, [units, members]."""
    return np.concatenate([tensors[name].detach().numpy().reshape(len(tensors[name]), -1) for name in names], 1)


def after_a_step(
    make: Any, x: Tensor, y: Tensor, names: tuple[str, ...]
) -> tuple[nn.Module, np.ndarray, np.ndarray, nn.Module, torch.optim.Optimizer]:
    """A network after a plain step of Adam at 0.1, what makes each of its units and their steps; and one before it."""
    model, other = make(), make()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    (model(x) - y).square().mean().backward()
    optimizer.step()
    own = dict(model.named_parameters())
    seconds = lines({name: optimizer.state[p]["exp_avg_sq"] for name, p in own.items()}, names)
    steps = 0.1 / (np.sqrt(seconds / (1 - 0.999)) + 1e-8)
    return model, lines(own, names), steps, other, torch.optim.Adam(other.parameters(), lr=0.1)


def test_the_units_that_matter_least_for_the_root_of_their_cost_go_and_the_others_are_left_alone() -> None:
    """Without a norm, against NumPy: what a step alone would give, but for units that are zero."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2)).double()

    x, y = torch.randn(16, 3, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    first, second = ("0.weight", "0.bias"), ("2.weight", "2.bias")
    plain, w1, s1, model, optimizer = after_a_step(make, x, y, first)
    _, w2, s2, *_ = after_a_step(make, x, y, second)
    scores = [*((w1 / s1) ** 2).sum(1) / (3 + 1 + 5) ** 0.5, *((w2 / s2) ** 2).sum(1) / (8 + 1 + 2) ** 0.5]
    with dashpot.Compress(to="0.6x parameters").attach(model, optimizer, steps=10):
        (model(x) - y).square().mean().backward()
        optimizer.step()
    zero = {u for u in range(13) if not lines(dict(model.named_parameters()), first if u < 8 else second)[u % 8].any()}
    # A fifth of the way: 89 parameters become 89 * 0.6^0.2 = 80.4, and a unit takes 9 or 11 of them.
    assert zero == {int(np.argmin(scores))}
    for name, t in model.named_parameters():
        other = dict(plain.named_parameters())[name].detach().clone()
        for unit in zero:
            if name in (first if unit < 8 else second):
                other[unit % 8] = 0.0
        torch.testing.assert_close(t.detach(), other, rtol=1e-9, atol=1e-12)


def test_units_that_a_norm_scales_fade_before_they_go() -> None:
    """The first of 40 steps, two units ahead: the share by which each becomes smaller, in NumPy."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()

    x, y = torch.randn(16, 3, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    parts = ("0.weight", "0.bias", "1.weight", "1.bias")
    _, w, steps, model, optimizer = after_a_step(make, x, y, parts)
    with dashpot.Compress(to="0.3x parameters", by=1.0).attach(model, optimizer, steps=40):
        (model(x) - y).square().mean().backward()
        optimizer.step()
    # 66 parameters, 8 of them with each unit: 66 * 0.3^(5 / 40) = 56.8 is reached without two.
    scores = ((w / steps) ** 2).sum(1)
    gain = 5 / 4 * np.log(66 / (66 * 0.3 ** (1 / 40)))
    shares = np.exp(gain) / 4 * np.minimum(1.0, np.sort(scores)[1] / scores) ** 1.5
    assert 0.2 < shares.max() < 0.3
    expected = [
        by_bisection(w[u], steps[u], r * np.linalg.norm(w[u] / steps[u])) if r > 0.01 * shares.max() else w[u]
        for u, r in enumerate(shares)
    ]
    np.testing.assert_allclose(lines(dict(model.named_parameters()), parts), expected, rtol=1e-6, atol=1e-9)


def test_the_plan_is_geometric() -> None:
    np.testing.assert_allclose(
        [planned_size(800.0, 100.0, p) for p in (0, 1 / 3, 2 / 3, 1, 2)], [800, 400, 200, 100, 100]
    )


def test_a_network_that_is_small_enough_stays_and_no_step_changes() -> None:
    one, other = perceptron(), perceptron()
    fitted(one, table(), None, epochs=2)
    result = fitted(other, table(), dashpot.Compress(to="1M parameters"), epochs=2)
    assert result.shrunk is None
    assert result.model is other
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("text", "amount", "relative", "measure", "written"),
    [
        ("20k parameters", 20000.0, False, "parameters", "20k parameters"),
        ("20K params", 20000.0, False, "parameters", "20k parameters"),
        ("1500 parameters", 1500.0, False, "parameters", "1500 parameters"),
        (" 0.5x macs ", 0.5, True, "macs", "0.5x macs"),
        ("2.5M MACs", 2.5e6, False, "macs", "2.5M macs"),
        ("1 MB", 1e6, False, "bytes", "1 MB"),
        ("300kB", 3e5, False, "bytes", "300 kB"),
        ("0.25x bytes", 0.25, True, "bytes", "0.25x bytes"),
    ],
)
def test_sizes_as_text(text: str, amount: float, relative: bool, measure: str, written: str) -> None:
    target, told = Target.parse("to", text)
    assert (target.amount, target.relative, target.measure, told) == (pytest.approx(amount), relative, measure, written)
    assert Target.parse("to", told) == (target, told)


def test_what_cannot_be_is_said() -> None:
    x, y = table()
    with pytest.raises(ConfigError, match=r"Compress.to must be a size such as '20k parameters'"):
        dashpot.Compress(to="twice as fast")
    with pytest.raises(ConflictError, match=r"asks for 15 parameters, and Sequential has .* Ask for at least"):
        fitted(perceptron(), (x, y), dashpot.Compress(to="15 parameters"))
    model = perceptron()
    with pytest.raises(ConflictError, match=r"Compress\(by=50%\): .* needs the run's length"):
        dashpot.Compress(to="0.5x parameters").attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ConflictError, match="finds no units"):
        fitted(nn.Linear(8, 2), (x, y), dashpot.Compress(to="0.9x parameters"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = dashpot.Compress(by="9steps").attach(model, optimizer)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    with pytest.raises(UsageError, match="has seen no training pass"):
        optimizer.step()
    session.close()


def by_bisection(w: np.ndarray, step: np.ndarray, strength: float) -> np.ndarray:
    """The minimizer of sum (u - w)^2 / (2 step) + strength |u|, by the length of u."""
    if np.linalg.norm(w / step) <= strength:
        return np.zeros_like(w)
    low, high = 0.0, float(np.linalg.norm(w))
    for _ in range(200):
        r = (low + high) / 2
        low, high = (r, high) if np.linalg.norm(w / (r + step * strength)) > 1 else (low, r)
    return w * low / (low + step * strength)


def test_channel_lasso_is_one_norm_over_all_tensors_of_a_unit() -> None:
    """After a step of Adam, in its own steps, weighted by what leaves: all in NumPy."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    twin = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()
    twin.load_state_dict(model.state_dict())
    plain = torch.optim.Adam(twin.parameters(), lr=0.1)
    (twin(x) - y).square().mean().backward()
    plain.step()
    with dashpot.penalties.ChannelLasso(strength=0.4).attach(model, optimizer):
        (model(x) - y).square().mean().backward()
        optimizer.step()
    parts = ("0.weight", "0.bias", "1.weight", "1.bias")
    own, after = dict(twin.named_parameters()), dict(model.named_parameters())
    # Of 6 weights that make a unit, and 2 that read it: all units cost the same, so each factor is the root of 6.
    for unit in range(4):
        line = lambda t: t.detach().numpy().reshape(4, -1)[unit]  # noqa: B023, E731
        w = np.concatenate([line(own[name]) for name in parts])
        v = np.concatenate([line(plain.state[own[name]]["exp_avg_sq"]) for name in parts])
        step = 0.1 / (np.sqrt(v / (1 - 0.999)) + 1e-8)
        expected = by_bisection(w, step, 0.4 * 6**0.5)
        np.testing.assert_allclose(
            np.concatenate([line(after[name]) for name in parts]), expected, rtol=1e-6, atol=1e-12
        )
    assert all(torch.equal(own[name], after[name]) for name in ("3.weight", "3.bias"))


def test_channel_lasso_empties_units_that_then_leave() -> None:
    x, y = pictures()
    torch.manual_seed(0)
    model = Residual()
    fitted(model, (x, y), dashpot.penalties.ChannelLasso(strength=0.01, cost="macs"), epochs=12)
    small = dashpot.shrink(model, x[:2])
    assert small.after.macs < 0.9 * small.before.macs
    torch.testing.assert_close(small.model(x), model(x), rtol=1e-4, atol=1e-5)
