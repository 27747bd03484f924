"""Modules that a technique replaces: seen by what comes after, followed by the optimizer, gone at the end."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.core.technique import Technique

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class Scaled(nn.Module):
    """The module that was there, times a number that is learned: it shares the module, and brings a parameter."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale * self.inner(x)
        return out


class Rescale(Technique):
    summary = "scales a layer"

    def on_build(self, view: Any, ctx: Any) -> dict[str, nn.Module]:
        return {"3": Scaled(view.modules["3"])}


class ToGroups(Technique):
    summary = "normalizes by groups"

    def on_build(self, view: Any, ctx: Any) -> dict[str, nn.Module]:
        return {name: nn.GroupNorm(2, 8) for name, m in view.modules.items() if isinstance(m, nn.BatchNorm1d)}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(X), Y).backward()
        optimizer.step()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_it_trains_as_the_model_that_is_built_by_hand() -> None:
    model, twin = network(), network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    ToGroups().attach(model, optimizer)
    twin[1] = nn.GroupNorm(2, 8)
    train(model, optimizer)
    train(twin, torch.optim.Adam(twin.parameters(), lr=0.05))
    assert isinstance(model[1], nn.GroupNorm)
    assert same(model.state_dict(), twin.state_dict())


def test_the_model_before_is_there_after() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    train(model, optimizer)
    norm, before = model[1], copy.deepcopy(model.state_dict())
    state, groups = copy.deepcopy(optimizer.state_dict()), [list(g["params"]) for g in optimizer.param_groups]
    session = ToGroups().attach(model, optimizer)
    assert norm.weight not in optimizer.state
    assert not any(p is norm.weight for p in optimizer.param_groups[0]["params"])
    assert any(p is model[1].weight for p in optimizer.param_groups[0]["params"])
    session.close()
    assert model[1] is norm
    assert same(model.state_dict(), before)
    assert all(p is q for p, q in zip(optimizer.param_groups[0]["params"], groups[0], strict=True))
    after = optimizer.state_dict()
    assert after["param_groups"] == state["param_groups"]
    assert after["state"].keys() == state["state"].keys()
    for index, entries in state["state"].items():
        assert all(torch.equal(after["state"][index][key], value) for key, value in entries.items())
    train(model, optimizer, steps=1)


def test_new_parameters_join_the_group_of_those_that_go_and_leave_with_their_state() -> None:
    model = network()
    groups = [
        {"params": [*model[0].parameters(), *model[3].parameters()], "lr": 0.1},
        {"params": model[1].parameters(), "lr": 0.7},
    ]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    session = (ToGroups() | Rescale()).attach(model, optimizer)
    norm, scale = model[1].weight, model[3].scale
    assert any(p is norm for p in optimizer.param_groups[1]["params"])
    assert any(p is scale for p in optimizer.param_groups[0]["params"])  # beside the layer it came with
    assert any(p is model[3].inner.weight for p in optimizer.param_groups[0]["params"])
    train(model, optimizer)
    assert norm in optimizer.state
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    session.close()
    assert norm not in optimizer.state
    assert scale not in optimizer.state
    assert [len(g["params"]) for g in optimizer.param_groups] == [4, 2, 1]


def test_a_layer_inside_a_new_one_is_what_the_export_and_the_end_have() -> None:
    model, twin = network(), network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaled = Scaled(twin[3])
    by_hand = nn.Sequential(*twin[:3], scaled)
    session = (Rescale() | dashpot.EMA(decay=0.5, warmup=False)).attach(model, optimizer)
    raw = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    average = [p.detach().clone() for p in by_hand.parameters()]
    for _ in range(3):
        train(model, optimizer, 1)
        train(by_hand, raw, 1)
        with torch.no_grad():
            torch._foreach_lerp_(average, list(by_hand.parameters()), 0.5)
    assert "3.inner.weight" in model.state_dict()
    exported = session.export()
    plain = network()
    assert list(exported.state_dict()) == list(plain.state_dict())
    assert type(exported[3]) is nn.Linear
    torch.testing.assert_close(exported[3].weight, average[-2])
    torch.testing.assert_close(exported[0].weight, average[0])
    session.finish()
    session.close()
    assert list(model.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(model[3].weight, average[-2])
    assert session.export()[3].weight.equal(model[3].weight)


def test_replaced_modules_are_seen_by_what_comes_after() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recipe = dashpot.Dropout(p=0.5, on="type:Scaled") | dashpot.WeightDecay(on="name:3.inner.weight") | Rescale()
    session = recipe.attach(model, optimizer)
    assert "after 1 modules: 3" in session.plan()
    assert "1 tensors, 24 values" in session.plan()
    assert "modules       rescale" in session.plan()
    session.close()
    assert not any(m._forward_hooks for m in model.modules())


def test_two_may_replace_one_after_the_other() -> None:
    model = network()
    layer = model[3]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    session = (Rescale() | Rescale()).attach(model, optimizer)
    assert model[3].inner.inner is layer
    assert len(optimizer.param_groups[0]["params"]) == 8
    assert type(session.export()[3]) is nn.Linear
    session.close()
    assert model[3] is layer
    assert len(optimizer.param_groups[0]["params"]) == 6


def test_training_resumes_bit_for_bit() -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer, dashpot.Session]:
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        return model, optimizer, (Rescale() | dashpot.EMA(decay=0.5)).attach(model, optimizer)

    whole, optimizer, session = start()
    train(whole, optimizer, 5)
    model, optimizer, first = start()
    train(model, optimizer, 2)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), first.state_dict()))
    model, optimizer, second = start()
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    second.load_state_dict(saved[2])
    train(model, optimizer, 3)
    assert same(whole.state_dict(), model.state_dict())
    assert same(session.snapshot(), second.snapshot())


def test_fit_trains_saves_and_returns_the_plain_model(tmp_path: Any) -> None:
    options: dict[str, Any] = {"recipe": Rescale() | dashpot.EMA(decay=0.5), "progress": False, "epochs": 2}
    result = dashpot.fit(network(), (X, Y), valid=(X, Y), checkpoint=tmp_path, **options)
    assert list(result.model.state_dict()) == list(network().state_dict())
    again = dashpot.fit(network(), (X, Y), valid=(X, Y), checkpoint=tmp_path, resume=True, **options)
    assert same(result.model.state_dict(), again.model.state_dict())
    assert "rescale" in result.plan


@pytest.mark.parametrize(
    ("name", "message"), [("4", "no module '4' to replace in Sequential, which has 0, 1, 2, 3"), ("", "no module ''")]
)
def test_what_is_not_there_cannot_be_replaced(name: str, message: str) -> None:
    class Wrong(Technique):
        def on_build(self, view: Any, ctx: Any) -> dict[str, nn.Module]:
            return {"1": nn.Identity(), name: nn.Identity()}

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(dashpot.ConflictError, match=message):
        Wrong().attach(model, optimizer)
    assert isinstance(model[1], nn.BatchNorm1d)  # and what was replaced before is back
    assert len(optimizer.param_groups[0]["params"]) == 6


def test_compiled_models_are_refused() -> None:
    model = network()
    with pytest.raises(dashpot.ConflictError, match="compiled already"):
        Rescale().attach(torch.compile(model), torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_module_in_two_places_is_replaced_in_both() -> None:
    norm = nn.BatchNorm1d(6)
    model = nn.Sequential(nn.Linear(6, 6), norm, nn.Linear(6, 6), norm)

    class Away(Technique):
        def on_build(self, view: Any, ctx: Any) -> dict[str, nn.Module]:
            return {"1": nn.Identity()}

    session = Away().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert model[1] is model[3]
    assert isinstance(model[1], nn.Identity)
    session.close()
    assert model[1] is norm
    assert model[3] is norm
