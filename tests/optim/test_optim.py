"""The proximal optimizers: equal to a stock optimizer with the penalty attached, in every engine, and torch's in
everything else.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor, nn

import dashpot
from dashpot.optim import SGD, AdamW
from dashpot.techniques.penalties import fast, native
from dashpot.techniques.penalties.proximal import Proximal

SHAPES = [(300, 200), (200,), (64, 3, 5, 5), (7,), (1, 40_000), (0, 3), (33, 1), ()]
PENALTIES: dict[str, Proximal] = {
    "L1": dashpot.L1(strength=3e-3),
    "L1 decoupled": dashpot.L1(strength=0.5, scaling="decoupled"),
    "L1 ramp": dashpot.L1(strength="0to3e-3@from=1steps@until=4steps"),
    "elastic net": dashpot.ElasticNet(strength=3e-3),
    "rows": dashpot.GroupLasso(strength=1e-2),
    "rows decoupled": dashpot.GroupLasso(strength=0.3, scaling="decoupled"),
    "rows, sparse": dashpot.SparseGroupLasso(strength=1e-2),
    "rows, elastic": dashpot.GroupElasticNet(strength=1e-2, size_weights=False),
    "layer": dashpot.GroupLasso(strength=1e-3, groups="layer"),
    "columns": dashpot.GroupLasso(strength=1e-2, groups="columns"),
    "columns decoupled": dashpot.GroupLasso(strength=0.3, groups="columns", scaling="decoupled"),
    "columns, sparse": dashpot.SparseGroupLasso(strength=1e-2, groups="columns"),
    "SCAD": dashpot.SCAD(strength=1e-2),
    "non-negative": dashpot.NonNegative(),
    "off": dashpot.L1(strength=0.0),
}
ENGINES = ["eager", *(["native"] if native.kernel() is not None else [])]


class Net(nn.Module):
    """Parameters of many shapes; the gradient of ``loss`` differs by weight."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(
            [nn.Parameter((0.05 * torch.randn(shape, generator=generator)).to(dtype)) for shape in SHAPES]
        )

    def loss(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        total = torch.zeros((), dtype=torch.float64)
        for p in self.weights:
            target = (
                0.2 * torch.randn(p.shape, generator=generator) * (torch.arange(p.numel()) % 3 == 0).reshape(p.shape)
            )
            total = total + ((p - target.to(p.dtype)).square() * 0.5).double().sum()
        return total


def run(optimizer: torch.optim.Optimizer, model: Net, steps: int = 6, start: int = 0) -> None:
    for step in range(start, start + steps):
        optimizer.zero_grad()
        model.loss(step).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()


def stock(kind: str, penalty: Proximal, **options: Any) -> Net:
    model = Net()
    optimizer = (torch.optim.AdamW if kind == "adamw" else torch.optim.SGD)(model.parameters(), **options)
    everything = [dashpot.Where.name(f"weights.{i}") for i, shape in enumerate(SHAPES) if len(shape) > 1]
    where = everything[0]
    for one in everything[1:]:
        where = where | one
    with dashpot.Recipe((copy.copy(_on(penalty, where)),)).attach(model, optimizer):
        run(optimizer, model)
    return model


def _on(penalty: Proximal, where: dashpot.Where) -> Proximal:
    from dataclasses import replace

    return replace(penalty, on=where)  # type: ignore[type-var]  # one of several classes


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("adamw", {"lr": 0.01, "weight_decay": 0.1}),
    "amsgrad": ("adamw", {"lr": 0.01, "amsgrad": True}),
    "sgd": ("sgd", {"lr": 0.1}),
    "momentum": ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    "dampening": ("sgd", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5}),
    "nesterov": ("sgd", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("setting", OPTIONS)
def test_the_same_as_a_stock_optimizer_with_the_penalty_attached(
    setting: str, name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, options = OPTIONS[setting]
    penalty = PENALTIES[name]
    monkeypatch.setattr(fast, "WORTH_BUILDING", 1 << 60)  # the oracle is eager mode
    expected = stock(kind, penalty, **options)
    model = Net()
    optimizer = (AdamW if kind == "adamw" else SGD)(model.parameters(), **options, penalty=penalty, engine=engine)
    run(optimizer, model)
    for got, want in zip(model.weights, expected.weights, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-6)
        # At the edge of a threshold rounding decides; elsewhere the zeros are the same.
        differ = (got == 0) != (want == 0)
        assert (torch.maximum(got.abs(), want.abs())[differ] < 1e-5).all()


@pytest.mark.skipif(native.kernel() is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", ["L1", "elastic net", "rows", "rows, sparse", "rows decoupled", "columns"])
@pytest.mark.parametrize("setting", ["adamw", "momentum"])
def test_the_kernel_behind_a_stock_optimizer_gives_what_the_plain_map_gives(
    setting: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, options = OPTIONS[setting]
    by_kernel = stock(kind, PENALTIES[name], **options)
    monkeypatch.setattr(fast, "WORTH_BUILDING", 1 << 60)
    for got, want in zip(by_kernel.weights, stock(kind, PENALTIES[name], **options).weights, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["L1", "L1 ramp", "L1 decoupled", "SCAD", "non-negative"])
def test_the_compiled_pass_gives_the_same(name: str) -> None:
    models = []
    for engine in ("eager", "compiled"):
        model = Net()
        run(AdamW(model.parameters(), lr=0.01, penalty=PENALTIES[name], engine=engine), model)
        models.append(model)
    for got, want in zip(models[1].weights, models[0].weights, strict=True):
        # Beside zero Adam divides rounding by rounding, and SCAD's steep middle piece magnifies it.
        torch.testing.assert_close(got, want, rtol=2e-5, atol=1e-5)


def test_without_a_penalty_it_is_torchs_bit_for_bit() -> None:
    for ours, theirs, options in (
        (AdamW, torch.optim.AdamW, {"lr": 0.01, "fused": True}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    ):
        first, second = Net(), Net()
        run(ours(first.parameters(), **options), first)  # type: ignore[operator]  # one of several classes
        run(theirs(second.parameters(), **options), second)  # type: ignore[operator]  # one of several classes
        assert all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_take_the_plain_path(engine: str, dtype: torch.dtype) -> None:
    model = Net(dtype)
    run(AdamW(model.parameters(), lr=0.01, penalty=dashpot.L1(strength=3e-3), engine=engine), model)
    assert all(p.dtype == dtype for p in model.weights)
    assert (model.weights[0] == 0).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_linear_layer_reaches_the_lasso(engine: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 20)).astype("float32")
    y = (x[:, :3] @ np.array([2.0, -1.0, 0.5]) + 0.1 * rng.standard_normal(80)).astype("float32")
    exact = Lasso(alpha=0.1, fit_intercept=False, tol=1e-12).fit(x.astype(float), y.astype(float)).coef_
    for make in (
        lambda m: AdamW(m, lr=0.02, weight_decay=0.0, penalty=dashpot.L1(strength=0.2), engine=engine),
        lambda m: SGD(m, lr=0.02, momentum=0.9, nesterov=True, penalty=dashpot.L1(strength=0.2), engine=engine),
    ):
        model = nn.Linear(20, 1, bias=False)
        optimizer = make(model)
        for step in range(3000):
            optimizer.param_groups[0]["lr"] = 0.02 * min(1.0, 10 ** (-4 * (step / 3000 - 0.5)))
            optimizer.zero_grad()
            (model(torch.from_numpy(x))[:, 0] - torch.from_numpy(y)).square().mean().backward()
            optimizer.step()
        ours = model.weight.detach().numpy()[0]
        np.testing.assert_array_equal(ours != 0, exact != 0)
        np.testing.assert_allclose(ours, exact, atol=2e-5)


def test_checkpoints_go_both_ways_with_torchs_adamw() -> None:
    model = Net()
    theirs = torch.optim.AdamW(model.parameters(), lr=0.01)
    run(theirs, model, 3)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    ours = AdamW(model.parameters(), lr=0.5, penalty=dashpot.L1(strength=1e-3))
    ours.load_state_dict(torch.load(file))
    assert ours.param_groups[0]["lr"] == 0.01
    assert ours.param_groups[0]["penalty"] == dashpot.L1(strength=1e-3)
    assert float(ours.state[model.weights[0]]["step"]) == 3
    run(ours, model, 3, start=3)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    again = torch.optim.AdamW(model.parameters())
    again.load_state_dict(torch.load(file))  # weights_only: nothing of ours is in it
    assert float(again.state[model.weights[0]]["step"]) == 6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["L1 ramp", "rows"])
def test_a_resumed_run_is_the_same_bit_for_bit(name: str, engine: str) -> None:
    whole = Net()
    run(AdamW(whole.parameters(), lr=0.01, penalty=PENALTIES[name], engine=engine), whole, 6)
    part = Net()
    optimizer = AdamW(part.parameters(), lr=0.01, penalty=PENALTIES[name], engine=engine)
    run(optimizer, part, 3)
    resumed = Net()
    resumed.load_state_dict(part.state_dict())
    other = AdamW(resumed.parameters(), lr=0.01, penalty=PENALTIES[name], engine=engine)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(other, resumed, 3, start=3)
    assert all(torch.equal(a, b) for a, b in zip(resumed.weights, whole.weights, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_moved_frozen_loaded_and_added_parameters_go_on_working(engine: str) -> None:
    model = Net()
    optimizer = AdamW(model.parameters(), lr=0.01, penalty=dashpot.L1(strength=3e-3), engine=engine)
    run(optimizer, model, 2)
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    before = model.weights[0].detach().clone()
    run(optimizer, model, 1)
    assert 0 < (model.weights[0] - before).abs().max() < 0.1
    model.weights[0].data = model.weights[0].data.clone()  # what `model.to` does
    before = model.weights[0].detach().clone()
    run(optimizer, model, 1)
    assert (model.weights[0] != before).any()
    model.weights[0].requires_grad_(False)
    optimizer.zero_grad()
    frozen = model.weights[0].detach().clone()
    run(optimizer, model, 2)
    assert torch.equal(model.weights[0], frozen)
    extra = nn.Parameter(torch.full((50, 50), 1e-6))
    optimizer.add_param_group({"params": [extra], "penalty": dashpot.L1(strength=1.0)})
    extra.grad = torch.zeros_like(extra)
    optimizer.step()
    assert (extra == 0).all()


@pytest.mark.parametrize("make", [AdamW, SGD])
def test_copies_and_pickles_go_on_as_the_original(make: Any) -> None:
    model = Net()
    optimizer = make(model, lr=0.01, penalty=dashpot.L1(strength=3e-3, on="name:weights.0"), engine="eager")
    run(optimizer, model, 2)
    for twin in (lambda pair: copy.deepcopy(pair), lambda pair: pickle.loads(pickle.dumps(pair))):
        other, its = twin((model, optimizer))
        assert its.engine == "eager"
        run(its, other, 2, start=2)
        assert (other.weights[0] == 0).any()
        assert (other.weights[4] != 0).all()
        # A copy has parameters of its own: the original has not moved.
        assert not torch.equal(other.weights[0], model.weights[0])
    run(optimizer, model, 2, start=2)
    assert all(torch.equal(a, b) for a, b in zip(model.weights, other.weights, strict=True))


def test_non_contiguous_and_shared_parameters() -> None:
    transposed = nn.Parameter(torch.randn(400, 300, generator=torch.Generator().manual_seed(0)).t())
    straight = nn.Parameter(transposed.detach().contiguous())
    for p in (transposed, straight):
        optimizer = AdamW([p], lr=0.1, penalty=dashpot.GroupLasso(strength=1e-3))
        for _ in range(3):
            p.grad = p.detach().sin()
            optimizer.step()
    torch.testing.assert_close(transposed, straight, rtol=2e-5, atol=2e-6)
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    model[1].weight = model[0].weight
    optimizer = AdamW(model, lr=0.1, penalty=dashpot.L1(strength=1e-3))
    model(torch.ones(2, 40)).square().mean().backward()
    optimizer.step()
    assert float(optimizer.state[model[0].weight]["step"]) == 1


def test_ten_thousand_small_parameters() -> None:
    params = [nn.Parameter(torch.full((2, 2), 0.001)) for _ in range(10_000)]
    for p in params:
        p.grad = torch.zeros_like(p)
    AdamW(params, lr=0.1, penalty=dashpot.L1(strength=1.0)).step()
    assert all(not p.any() for p in params[::500])


@pytest.mark.parametrize("engine", ENGINES)
def test_nan_stays_nan_and_is_not_thresholded_away(engine: str) -> None:
    for penalty in (dashpot.L1(strength=1.0), dashpot.ElasticNet(strength=1.0), dashpot.GroupLasso(strength=1.0)):
        p = nn.Parameter(torch.ones(200, 200))
        p.grad = torch.ones_like(p)
        p.grad[3, 5] = torch.nan
        AdamW([p], lr=0.1, penalty=penalty, engine=engine).step()
        assert p[3, 5].isnan()


def test_where_the_penalty_acts() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Embedding(5, 4))
    optimizer = AdamW(model, lr=0.1, weight_decay=0.0, penalty=dashpot.L1(strength=1e9))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert not model[0].weight.any()
    assert model[0].bias.any()
    assert model[1].weight.all()
    assert model[2].weight.any()  # an embedding is no weight, and the model told
    bias = nn.Parameter(torch.ones(3))
    bias.grad = torch.zeros(3)
    AdamW([{"params": [bias], "penalty": dashpot.L1(strength=1e9)}], lr=0.1).step()
    assert not bias.any()
    bias = nn.Parameter(torch.ones(3))
    bias.grad = torch.zeros(3)
    AdamW([bias], lr=0.1, weight_decay=0.0, penalty=dashpot.L1(strength=1e9)).step()
    assert bias.all()


def test_skipped_and_scaled_steps_of_a_grad_scaler() -> None:
    model = nn.Linear(200, 200)
    optimizer = AdamW(model, lr=0.1, weight_decay=0.0, penalty=dashpot.L1(strength=1e-4))
    plain = copy.deepcopy(model)
    other = AdamW(plain, lr=0.1, weight_decay=0.0, penalty=dashpot.L1(strength=1e-4))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    x = torch.randn(8, 200)
    scaler.scale(model(x).square().mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    plain(x).square().mean().backward()
    other.step()
    torch.testing.assert_close(model.weight, plain.weight)
    before = model.weight.detach().clone()
    optimizer.zero_grad()
    scaler.scale(model(x).square().mean() * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.weight, before)


def test_bad_input() -> None:
    model = nn.Linear(6, 5)
    with pytest.raises(dashpot.ConfigError, match=r"penalty must be a technique with a proximal map.*recipe"):
        AdamW(model, penalty=dashpot.Orthogonality())  # type: ignore[arg-type]  # refused
    with pytest.raises(dashpot.ConfigError, match="ElasticNet"):
        SGD(model, penalty=dashpot.L2())  # type: ignore[arg-type]  # refused
    with pytest.raises(dashpot.ConfigError, match=r"(?s)groups of weight.*blocks of 4 x 4.*\[5, 6\]"):
        AdamW(model, penalty=dashpot.GroupLasso(groups="block:4"))
    with pytest.raises(dashpot.ConflictError, match=r"dashpot.resolve_strengths"):
        AdamW(model, penalty=dashpot.L1(relative=0.1))
    with pytest.raises(dashpot.ConflictError, match="NuclearNorm"):
        AdamW(model, penalty=dashpot.NuclearNorm(strength=1.0, scaling="adaptive"))
    with pytest.raises(dashpot.ConfigError, match="engine must be one of"):
        AdamW(model, engine="fast")
    optimizer = AdamW(model, penalty=dashpot.L1())
    with pytest.raises(dashpot.ConflictError, match="both act on 'weight'"):
        dashpot.L1().attach(model, optimizer)


def test_without_a_compiler_the_plain_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "kernel", lambda: None)
    model = Net()
    run(AdamW(model.parameters(), lr=0.01, penalty=dashpot.L1(strength=3e-3)), model, 2)
    assert (model.weights[0] == 0).any()
    with pytest.raises(dashpot.ConfigError, match=r"C\+\+ compiler"):
        AdamW(model.parameters(), engine="native")
