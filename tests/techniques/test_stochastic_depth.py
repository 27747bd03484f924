"""Stochastic depth in networks with residual branches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError, UsageError
from dashpot.dropout import SingleEpochWarning, StochasticDepth
from dashpot.nets import ConvNet, ResNet
from tests.population.helpers import demand_as_alone, member


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


class Residual(nn.Module):
    """x + last(x) for each part, of which the last module says that it ends a branch."""

    def __init__(self, parts: int = 2) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(3, 3) for _ in range(parts))
        for part in self.parts:
            part.ends_branch = True

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + part(x)
        return x


def branches_of(model: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What each branch adds, and what passes."""
    raw: dict[str, Tensor] = {}
    passed: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if getattr(module, "ends_branch", False):
            handles += [
                module.register_forward_hook(lambda m, a, out, n=name: raw.update({n: out.clone()}), prepend=True),
                module.register_forward_hook(lambda m, a, out, n=name: passed.update({n: out.clone()})),
            ]
    model(x)
    for handle in handles:
        handle.remove()
    return {name: (raw[name], passed[name]) for name in raw}


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (ConvNet(3, 2, size=16, width=4, residual=True, se=True), (3, 16, 16)),
        (ResNet(1, 2, width=4), (1, 9, 9)),
        (Residual(3), (3,)),
    ],
)
def test_a_sample_keeps_a_branch_whole_or_loses_it(model: nn.Module, shape: tuple[int, ...]) -> None:
    with StochasticDepth(p=0.6).attach(model.train(), sgd(model)):
        found = branches_of(model, torch.randn(40, *shape))
    assert len(found) >= 2
    masks = []
    for place, (raw, passed) in enumerate(found.values()):
        rate = 0.6 * (place + 1) / len(found)
        kept = passed.flatten(1).abs().sum(1) > 0
        torch.testing.assert_close(passed[kept], raw[kept] / (1 - rate))
        assert 0 < kept.sum() < 40
        masks.append(kept)
    assert not torch.equal(masks[0], masks[1])


def test_rates_grow_with_depth_and_the_mean_stays() -> None:
    model, x = Residual(4).train(), torch.ones(20_000, 3)
    with StochasticDepth(p=0.8).attach(model, sgd(model)):
        found = branches_of(model, x)
    for place, (raw, passed) in enumerate(found.values()):
        gone = float((passed.abs().sum(1) == 0).double().mean())
        rate = 0.2 * (place + 1)
        assert abs(gone - rate) < 4 * (rate * (1 - rate) / len(x)) ** 0.5
        if place == 0:  # later inputs differ from sample to sample
            torch.testing.assert_close(passed.mean(0), raw.mean(0), rtol=0.02, atol=0)


def test_at_one_the_last_branch_never_passes_and_has_no_gradient() -> None:
    model = Residual(1).train()
    x = torch.randn(5, 3)
    with StochasticDepth(p=1.0).attach(model, sgd(model)):
        out = model(x)
        out.sum().backward()
        assert torch.equal(out, x)
        assert bool((model.parts[0].weight.grad == 0).all())


def test_evaluation_is_the_network_itself() -> None:
    model, x = Residual(), torch.randn(5, 3)
    expected = model.eval()(x)
    with StochasticDepth(p=0.5).attach(model, sgd(model)):
        assert torch.equal(model.eval()(x), expected)


def test_draws_do_not_depend_on_other_places_and_differ_from_step_to_step() -> None:
    model, x = Residual(3).train(), torch.randn(30, 3)

    def masks(on: str, steps: int = 1) -> dict[str, list[bool]]:
        optimizer = sgd(model)
        with StochasticDepth(p=0.9, on=on).attach(model, optimizer, seed=3):
            for _ in range(steps - 1):
                model(x).sum().backward()
                optimizer.step()
            found = branches_of(model, x)
        return {name: (passed.abs().sum(1) > 0).tolist() for name, (_, passed) in found.items()}

    both, last = masks("branches"), masks("name:parts.2")
    assert both["parts.2"] == last["parts.2"]
    assert all(last["parts.0"])
    assert masks("branches", steps=2) != both


class DropPath(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        return x


class BasicBlock(nn.Module):
    """The names of torchvision's and timm's block: relu(x + drop_path(bn2(conv2(x)))). Only of those is it known."""

    def __init__(self, drop_path: nn.Module | None = None) -> None:
        super().__init__()
        self.conv2, self.bn2, self.drop_path = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), drop_path

    def forward(self, x: Tensor) -> Tensor:
        added = self.bn2(self.conv2(x))
        return torch.relu(x + (added if self.drop_path is None else self.drop_path(added)))


class InvertedResidual(nn.Module):
    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.conv, self.use_res_connect = nn.Sequential(nn.Conv2d(3, 3, 1)), adds

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


@pytest.mark.parametrize(
    ("library", "blocks", "expected"),
    [
        ("torchvision.models.resnet", [BasicBlock(), BasicBlock()], ["0.bn2", "1.bn2"]),
        ("timm.models.resnet", [BasicBlock(), BasicBlock(DropPath(0))], ["0.bn2", "1.drop_path"]),
        ("timm.models.resnet", [BasicBlock(nn.Identity())], ["0.drop_path"]),
        ("torchvision.models", [InvertedResidual(True), InvertedResidual(False)], ["0.conv"]),
        ("elsewhere", [BasicBlock(), InvertedResidual(True)], []),
        ("torch", [nn.TransformerEncoderLayer(3, 1, 4)], ["0.dropout1", "0.dropout2"]),
    ],
)
def test_the_blocks_of_libraries_are_known(
    library: str, blocks: list[nn.Module], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BasicBlock, "__module__", library)
    monkeypatch.setattr(InvertedResidual, "__module__", library)
    model = nn.Sequential(*blocks)
    if not expected:
        with pytest.raises(ConflictError, match=r"matches no module of Sequential.*'name:layer\*.bn2'"):
            StochasticDepth().attach(model, sgd(model))
        return
    with StochasticDepth(p=1.0).attach(model, sgd(model)) as session:
        plan = session.plan()
        assert all(name in plan for name in expected)
        assert f"the last of {len(expected)} " in plan
        if library.startswith("torchvision"):
            torch.manual_seed(0)
            x, before = torch.rand(5, 3, 2, 2), {}
            model[len(expected) - 1].register_forward_pre_hook(lambda m, args: before.update(x=args[0]))
            model[len(expected) - 1].register_forward_hook(lambda m, args, out: before.update(y=out))
            model(x)
            assert torch.equal(before["y"], torch.relu(before["x"]))  # at rate 1 the last branch adds nothing


class Pairs(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x, x


def test_what_cannot_be_left_out_is_refused() -> None:
    plain = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(ConflictError, match="matches no module of Sequential"):
        StochasticDepth().attach(plain, sgd(plain))
    for rate in (0.2, 0):
        timm = nn.Sequential(nn.Linear(3, 3), DropPath(rate))
        if rate:
            with pytest.raises(ConflictError, match="'1' .DropPath. drops by itself, at a rate of 0.2"):
                StochasticDepth().attach(timm, sgd(timm))
        else:
            assert "1" in StochasticDepth().attach(timm, sgd(timm)).plan()
    pairs = nn.Sequential(nn.Linear(3, 3), Pairs())
    with (
        StochasticDepth(on="name:1").attach(pairs, sgd(pairs)),
        pytest.raises(UsageError, match="StochasticDepth acts on tensors, but Pairs returns tuple"),
    ):
        pairs(torch.ones(2, 3))
    model = Residual()
    with pytest.raises(ConflictError, match="stochastic depth"):
        (StochasticDepth() | StochasticDepth(p=0.3, on="name:parts.1")).attach(model, sgd(model))


class Net(nn.Module):
    """A first layer, branches without a kink at which rounding would decide, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.head = nn.Linear(6, 3), Residual(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.first(x)).tanh())


def test_members_with_rates_and_schedules_of_their_own_are_those_trained_alone() -> None:
    techniques = [(StochasticDepth(p=0.5),), (StochasticDepth(p="0.9to0.1"),), ()]
    demand_as_alone([member(Net, chosen, seed=k) for k, chosen in enumerate(techniques)])


def test_a_run_of_one_epoch_warns() -> None:
    model = Residual()
    with pytest.warns(SingleEpochWarning, match="StochasticDepth in a run of one epoch"):
        StochasticDepth(0.1).attach(model, sgd(model), steps=50, steps_per_epoch=50).close()
