"""The cut inside training: equal, step for step, to the large network whose empty units stay empty."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.shrinking.channels import Channels, channels_of
from dashpot.training import compressing


class Residual(nn.Module):
    """A stem, a branch with batch norm, a depthwise and a padded grouped convolution, and a head."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.one, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.two, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        y = self.norm1(self.one(x)).relu()
        x = (x + self.norm2(self.two(y))).relu()
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Grouped(nn.Module):
    """Convolutions in groups, depthwise and padded."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.groups, self.head = nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.first(x).relu()).relu()
        out: Tensor = self.head(self.groups(x).relu().mean((2, 3)))
        return out


class Attention(nn.Module):
    """One block of a transformer, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.come, self.qkv, self.out = nn.Linear(5, 16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.come(x)
        q, k, v = (t.unflatten(-1, (4, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        out: Tensor = self.head(x.mean(1))
        return out


class Recurrent(nn.Module):
    """An LSTM between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.come, self.lstm, self.head = nn.Linear(5, 12), nn.LSTM(12, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(self.come(x).relu())[0][:, -1])
        return out


def perceptron() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(8, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 3))
    )


Maker = Callable[[], nn.Module]
SHAPES: list[tuple[Maker, tuple[int, ...]]] = [
    (perceptron, (8,)),
    (Residual, (1, 6, 6)),
    (Grouped, (1, 6, 6)),
    (Attention, (4, 5)),
    (Recurrent, (4, 5)),
]


def data(shape: tuple[int, ...], n: int = 32, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return x, torch.arange(n) % 3


def emptied(model: nn.Module, x: Tensor) -> tuple[Channels, np.ndarray]:
    """Every second unit made zero, with all that makes it."""
    units = channels_of(model, (x[:2],), {}, [name for name, _ in model.named_parameters()])
    there = np.ones(units.count, bool)
    for unit in range(0, units.count, 2):
        there[unit] = units.last(unit, there)
    with torch.no_grad():
        units.empty(model, ~there)
    return units, ~there


def empty(units: Channels, tensors: dict[str, Tensor], gone: np.ndarray) -> None:
    """The same in tensors of the network's shapes."""
    for bucket in units.buckets:
        rows = bucket.rows(tensors)
        bucket.put(tensors, rows.masked_fill(torch.from_numpy(gone[bucket.units]).unsqueeze(1), 0.0))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    lambda p: torch.optim.RMSprop(p, lr=0.003, momentum=0.5, centered=True),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize(("network", "shape"), SHAPES)
def test_training_goes_on_as_that_of_the_large_network_whose_empty_units_stay(
    network: Maker, shape: tuple[int, ...], make: Callable[[Any], torch.optim.Optimizer]
) -> None:
    """With an average; losses of all steps, outputs, and averaged outputs, in float64."""
    torch.manual_seed(0)
    x, y = data(shape)
    model = network().double()
    twin = copy.deepcopy(model)
    optimizers = make(model.parameters()), make(twin.parameters())
    recipe = dashpot.EMA(0.8, warmup=False)
    session, large = recipe.attach(model, optimizers[0]), recipe.attach(twin, optimizers[1])
    for _ in range(3):
        for net, optimizer in zip((model, twin), optimizers, strict=True):
            step(net, optimizer, x, y)
    units, gone = emptied(model, x)
    units.empty(twin, gone)
    for net in (session, large):  # of zeros that a proximal step makes averages know: here they are made by hand
        empty(units, net.attached[0][1].state["average"], gone)
    parameters = dict(model.named_parameters())
    before = sum(p.numel() for p in model.parameters())
    found = dashpot.cut(session, x[:2])
    assert found.model is model
    assert found.after.parameters == sum(p.numel() for p in model.parameters()) < 0.8 * before
    assert all(p is parameters[name] for name, p in model.named_parameters())
    for _ in range(12):
        losses = [step(net, o, x, y) for net, o in zip((model, twin), optimizers, strict=True)]
        units.empty(twin, gone)
        empty(units, large.attached[0][1].state["average"], gone)
        assert losses[0] == pytest.approx(losses[1], rel=1e-9, abs=1e-12)
    torch.testing.assert_close(model.eval()(x), twin.eval()(x), rtol=1e-8, atol=1e-10)
    with session.evaluate() as one, large.evaluate() as other, torch.no_grad():
        torch.testing.assert_close(one(x), other(x), rtol=1e-8, atol=1e-10)
    for net in (session, large):
        net.close()


def test_what_an_optimizer_of_former_sizes_would_do_is_an_error() -> None:
    torch.manual_seed(0)
    x, y = data((8,))
    model = perceptron().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    beside = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    session = dashpot.EMA(0.9).attach(model, optimizer)
    step(model, optimizer, x, y)
    step(model, beside, x, y)
    emptied(model, x)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    dashpot.cut(session, x[:2])
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert model[0].weight.grad.norm() < gradients["0.weight"].norm()  # of a step that is under way they stay
    with pytest.raises(UsageError, match="AdamW has moments of shape .* from before a cut"):
        step(model, beside, x, y)
    step(model, optimizer, x, y)
    step(model, torch.optim.AdamW(model.parameters()), x, y)
    session.close()


def test_after_carry_a_step_without_gradients_of_its_own_is_an_error() -> None:
    torch.manual_seed(0)
    x, y = data((8,))
    model = perceptron().double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    step(model, optimizer, x, y)
    emptied(model, x)
    found = dashpot.shrink(model, x[:2])
    small = found.plan.carry(optimizer, model, found.model)
    functional.cross_entropy(found.model(x), y).backward()
    with pytest.raises(UsageError, match="AdamW is of the network before the cut"):
        optimizer.step()
    small.step()
    step(model, optimizer, x, y)  # who trains the large one on may


def test_what_cannot_follow_is_refused_and_nothing_has_changed() -> None:
    torch.manual_seed(0)
    x, y = data((8,))

    def refused(model: nn.Module, recipe: Any, told: str, make: Any = torch.optim.Adam) -> None:
        model = model.double()
        optimizer = make(model.parameters(), lr=0.01)
        with recipe.attach(model, optimizer, steps_per_epoch=1, classes=3) as session:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step(lambda: functional.cross_entropy(model(x), y))
            session.epoch({"val_loss": 1.0})
            emptied(model, x)
            before = {name: t.clone() for name, t in model.state_dict().items()}
            with pytest.raises(ConflictError, match=told):
                dashpot.cut(session, x[:2])
            assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())

    gates = nn.Sequential(nn.Linear(8, 12), nn.Sigmoid(), nn.Linear(12, 3))
    refused(gates, dashpot.EMA(0.9), "they give constants, which go into 2.bias")
    refused(perceptron(), dashpot.EMA(0.9), "LBFGS keeps a history", torch.optim.LBFGS)
    refused(perceptron(), dashpot.EarlyStopping(patience=3), "keeps the weights of epoch 1, when units")
    refused(perceptron(), dashpot.normalization.GhostBatchNorm(8), "has put modules in the place")
    with pytest.raises(UsageError, match="needs example_inputs"):
        dashpot.cut(dashpot.EMA(0.9).attach(net := perceptron(), torch.optim.Adam(net.parameters())))


def table() -> tuple[Tensor, Tensor]:
    x, _ = data((8,), 192, torch.float32)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 1).long()


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every cut pays; after how many parameters each left."""
    monkeypatch.setattr(compressing, "PAYS", 0.0)
    found: list[int] = []

    def watched(session: Any, *args: Any) -> Any:
        made = dashpot.cut(session, *args)
        found.append(made.after.parameters)
        return made

    monkeypatch.setattr(compressing, "cut", watched)
    return found


def fitted(model: nn.Module, recipe: Any, **options: Any) -> dashpot.FitResult:
    chosen: dict[str, Any] = {"epochs": 10, "batch_size": 32, "lr": 1e-2, "progress": False, **options}
    return dashpot.fit(model, table(), recipe=recipe, **chosen)


@pytest.mark.parametrize(
    "beside",
    [
        "ema:decay=0.9",
        "ema:decay=0.9 | sam:rho=0.05 | early-stopping:patience=2",
        "mixup | swa:start=80%,every=1steps | weight-decay:strength=0.01",
        "lookahead | dropout:p=0.1 | early-stopping:patience=9",
    ],
)
def test_fit_cuts_on_the_way(cuts: list[int], beside: str) -> None:
    torch.manual_seed(0)
    model = perceptron()
    parameters = list(model.parameters())
    full = sum(p.numel() for p in parameters)
    recipe = dashpot.Compress(to="0.3x parameters") | dashpot.Recipe.coerce(beside)
    result = fitted(model, recipe, valid=table())
    assert len(cuts) >= 2
    assert cuts == sorted(cuts, reverse=True)
    assert result.model is model
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
    assert result.shrunk is not None
    assert 0.95 * 0.3 * full <= sum(p.numel() for p in parameters) == result.shrunk.after.parameters <= 0.3 * full
    assert result.shrunk.before.parameters == full
    assert result.large is not None
    torch.testing.assert_close(result.large(table()[0]), model(table()[0]), rtol=1e-4, atol=1e-5)
    for name, tensor in model.state_dict().items():  # one plan from the first network to the last
        torch.testing.assert_close(result.shrunk.plan.cut(name, result.large.state_dict()[name]), tensor)


def test_a_run_that_is_resumed_on_either_side_of_a_cut_is_the_whole_one(cuts: list[int], tmp_path: Path) -> None:
    class Off(Exception):
        pass

    recipe = dashpot.Compress(to="0.3x parameters") | dashpot.EMA(0.9) | dashpot.EarlyStopping(patience=9)
    steady = lambda progress: 1.0 - progress  # noqa: E731

    def run(**options: Any) -> dashpot.FitResult:
        torch.manual_seed(0)
        return fitted(perceptron(), recipe, valid=table(), **{"schedule": steady, **options})

    whole = run()
    assert len(cuts) >= 2
    for last in (2, 4, 7):
        rows = itertools.count()

        def rate(progress: float, last: int = last, rows: Any = rows) -> float:
            if next(rows) == last * 6 + 3:
                raise Off
            return 1.0 - progress

        folder = tmp_path / str(last)
        with pytest.raises(Off):
            run(schedule=rate, checkpoint=folder)
        again = run(checkpoint=folder, resume=True)
        assert again.model.state_dict().keys() == whole.model.state_dict().keys()
        assert all(torch.equal(t, whole.model.state_dict()[name]) for name, t in again.model.state_dict().items())
        strip = lambda history: [{k: v for k, v in row.items() if k != "seconds"} for row in history]  # noqa: E731
        assert strip(again.history) == strip(whole.history)
        assert again.shrunk is not None
        assert whole.shrunk is not None
        assert again.shrunk.plan.to_dict() == whole.shrunk.plan.to_dict()
    with pytest.raises(ConfigError, match="recipe must be the one that the saved state belongs to"):
        fitted(
            model := perceptron(), dashpot.Compress(), valid=table(), schedule=steady, checkpoint=folder, resume=True
        )
    assert model[0].out_features == 48


def test_what_gives_constants_leaves_at_the_end(cuts: list[int]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Sigmoid(), nn.Linear(32, 3))
    result = fitted(model, dashpot.Compress(to="0.4x parameters"))
    assert not cuts
    assert result.large is model
    assert result.model[0].out_features < 16
    torch.testing.assert_close(result.model(table()[0]), model(table()[0]), rtol=1e-4, atol=1e-5)


def test_under_autocast_a_loop_goes_on() -> None:
    torch.manual_seed(0)
    x, y = table()
    model = perceptron()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with dashpot.Compress(to="0.4x parameters", by="8steps").attach(model, optimizer) as session:
        for number in range(16):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(x).float(), y)
            loss.backward()
            optimizer.step()
            if number in (4, 9):
                dashpot.cut(session)
    assert model[0].out_features < 30


def test_no_cut_where_it_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(compressing.Cuts, "make", lambda self, epoch: made.append(epoch))
    torch.manual_seed(0)
    fitted(perceptron(), dashpot.Compress(to="0.3x parameters"))
    assert made == [10]  # at the end only
