"""Normalizations that are put into models and made of others: against models built by hand, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.normalization import convert, insert


def seeded(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for p in (*model.parameters(), *model.buffers()):
        if p.is_floating_point():
            with torch.no_grad():
                p.copy_(torch.rand_like(p) + 0.1)
    return model


class Residual(nn.Module):
    """Functions as activations, a normalization that is there already, and a branch that ends in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.third = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm(self.first(x)))
        h = h + self.third(functional.relu(self.second(h)))
        out: Tensor = self.head(h.mean((2, 3)))
        return out


class Hidden(nn.Module):
    """What torch.fx cannot read."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.act, self.head = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 1e9):
            return x
        out: Tensor = self.head(self.act(self.body(x)))
        return out


@pytest.mark.parametrize(
    ("make", "shape", "norm"),
    [
        (lambda: nn.Linear(4, 8), (4,), nn.BatchNorm1d),
        (lambda: nn.Conv1d(4, 8, 3), (4, 9), nn.BatchNorm1d),
        (lambda: nn.Conv2d(4, 8, 3), (4, 5, 5), nn.BatchNorm2d),
        (lambda: nn.ConvTranspose2d(4, 8, 3, groups=2), (4, 5, 5), nn.BatchNorm2d),
        (lambda: nn.Conv3d(4, 8, 2), (4, 3, 3, 3), nn.BatchNorm3d),
    ],
)
def test_the_layer_tells_the_dimension_and_the_result_is_the_model_by_hand(make: Any, shape: Any, norm: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(make(), nn.Dropout(0.0), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    x = torch.randn(6, *shape)
    model(x)
    by_hand = nn.Sequential(copy.deepcopy(model[0]), norm(8), *copy.deepcopy(model[1:]))
    plan = insert(model)
    assert dict(plan.changed) == {"0_norm": f"{norm.__name__}(8) behind 0"}
    assert dict(plan.skipped) == {"4": "it is an output layer"}
    assert plan.new_parameters == ("0_norm.weight", "0_norm.bias")
    assert type(model[1]) is norm
    torch.testing.assert_close(model(x), by_hand(x))
    assert "0.weight" in model.state_dict()


def test_functions_count_as_activations_and_what_has_a_norm_or_ends_a_branch_is_left() -> None:
    model = Residual()
    plan = insert(model, "group", groups=4)
    assert dict(plan.changed) == {"second.1": "GroupNorm(4, 8) behind second"}
    assert dict(plan.skipped) == {
        "first": "a normalization follows already",
        "third": "no activation follows",
        "head": "it is an output layer",
    }
    named = insert(Residual(), "batch", on="name:third | name:head")
    assert list(named.changed) == ["third.1"]
    assert dict(named.skipped) == {"head": "it is an output layer"}
    assert model(torch.randn(2, 3, 4, 4)).shape == (2, 2)


def test_a_model_that_cannot_be_traced_is_read_from_a_pass() -> None:
    with pytest.raises(dashpot.ConflictError, match=r"torch.fx cannot read this Hidden, .* Give one batch: x="):
        insert(Hidden())
    model = Hidden()
    assert dict(insert(model, "layer", x=torch.randn(3, 4)).changed) == {"body.1": "LayerNorm(6) behind body"}
    assert model(torch.randn(3, 4)).shape == (3, 2)


def test_tokens_with_the_features_last_take_no_batch_norm() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
    x = torch.randn(3, 5, 4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(dashpot.ConflictError, match="'batch' cannot stand behind '0', whose outputs have 3 axes"):
        insert(model, "batch", x=x)
    assert list(model.state_dict()) == list(before)
    insert(model, "rms", x=x)
    torch.testing.assert_close(model[1](x.repeat(1, 1, 2)), functional.rms_norm(x.repeat(1, 1, 2), (8,)))


@pytest.mark.parametrize("kind", ["batch", "ghost", "sync"])
def test_between_kinds_of_batch_norm_evaluation_is_equal_and_parameters_are_the_same(kind: str) -> None:
    model = seeded(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=0.01, momentum=0.3), nn.ReLU()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(6, 2, 5, 5)
    expected, weight = model.eval()(x), model[1].weight
    if kind == "batch":  # there and back
        convert(model, "sync")
    convert(model, kind, size=3, x=x, optimizer=optimizer)
    assert torch.equal(model(x), expected)
    assert model[1].weight is weight
    assert (model[1].eps, model[1].momentum) == (0.01, 0.3)
    model.train()(x).sum().backward()  # one process: sync is plain
    optimizer.step()
    assert int(model[1].num_batches_tracked) == (2 if kind == "ghost" else 1)


@pytest.mark.parametrize("axes", [2, 4])
def test_other_kinds_normalize_as_numpy_says(axes: int) -> None:
    x = torch.randn(5, 8, *[3, 3][: axes - 2], dtype=torch.float64)
    old: Any = nn.BatchNorm1d if axes == 2 else nn.BatchNorm2d
    wide = (1, 8, *[1] * (axes - 2))
    for to, groups in (("layer", 1), ("group", 4)):
        model = seeded(nn.Sequential(old(8)).double())
        weight, bias = (p.detach().numpy().reshape(wide) for p in (model[0].weight, model[0].bias))
        plan = convert(model, to, groups=groups)
        assert plan.new_parameters == ()
        parts = x.numpy().reshape(5, groups, -1)
        scaled = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
        np.testing.assert_allclose(model(x).detach().numpy(), scaled.reshape(x.shape) * weight + bias, rtol=1e-9)


def test_a_group_norm_does_not_tell_its_dimension() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8))
    with pytest.raises(dashpot.ConflictError, match=r"'1' \(GroupNorm\) cannot become 'batch', .* Give one batch: x="):
        convert(model, "batch")
    assert str(convert(model, "batch", x=torch.randn(2, 2, 5, 5))) == "1: BatchNorm2d(8), was GroupNorm"
    assert type(model[1]) is nn.BatchNorm2d


def test_layer_norm_becomes_rms_norm_without_its_shift_and_an_optimizer_is_asked() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU())
    scale, optimizer = model[1].weight, torch.optim.Adam(model.parameters())
    with pytest.raises(dashpot.ConflictError, match="this Adam holds 1.bias, which would go. Convert first"):
        convert(model, "rms", optimizer=optimizer)
    assert type(model[1]) is nn.LayerNorm
    assert str(convert(model, "rms")) == "1: RMSNorm(8), was LayerNorm, without its bias"
    assert model[1].weight is scale
    with pytest.raises(dashpot.ConflictError, match="this Adam lacks 1.bias, which would come"):
        convert(model, "layer", optimizer=torch.optim.Adam(model.parameters()))
    with pytest.raises(dashpot.ConflictError, match="it normalizes the last axis, and others the second"):
        convert(model, "batch")


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight)


def test_what_cannot_be_done_is_refused_by_name_and_leaves_the_model() -> None:
    norm = nn.BatchNorm1d(6)
    shared = nn.Sequential(nn.Linear(6, 6), norm, nn.ReLU(), nn.Linear(6, 6), norm)
    cases: list[tuple[Any, str]] = [
        (lambda: convert(shared, "group", groups=2), "'1': it has several places in the model"),
        (lambda: convert(Reads(), "group", groups=2), "'norm': the model does not call it, or reads its parameters"),
        (lambda: convert(nn.Sequential(nn.BatchNorm1d(6)), "group", groups=4), "'0' has 6, got 4"),
        (lambda: insert(nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 1)), "group", groups=4), "has 6, got 4"),
        (lambda: convert(nn.Sequential(nn.BatchNorm1d(4)), "rms"), "normalizes the second axis, and RMSNorm the last"),
        (lambda: convert(nn.BatchNorm1d(4), "group"), "the model itself"),
        (lambda: insert(nn.Sequential(nn.Linear(2, 2))), "finds no layer .*0: it is an output layer"),
        (lambda: convert(nn.Sequential(nn.Linear(2, 2)), "group"), "it has none that is selected"),
        (lambda: convert(nn.Sequential(nn.BatchNorm1d(4)), "batch"), r"0: it is BatchNorm1d\(4\) already"),
        (
            lambda: insert(
                one := nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)),
                optimizer=torch.optim.Adam(one.parameters()),
            ),
            "insert brings parameters that this Adam does not have",
        ),
    ]
    for act, told in cases:
        with pytest.raises(dashpot.ConflictError, match=told):
            act()
    assert shared[1] is norm
    with pytest.raises(dashpot.ConfigError, match="kind must be one of batch, ghost"):
        insert(nn.Sequential(nn.Linear(2, 2)), "bacth")


def test_an_open_session_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    session = dashpot.EMA().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(dashpot.ConflictError, match="already carries an open session"):
        convert(model, "group")
    session.close()
    convert(model, "group")


def test_sync_is_refused_in_processes_without_a_gpu(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        with pytest.raises(dashpot.ConflictError, match="synchronizes on GPUs only, .* process group of gloo"):
            convert(nn.Sequential(nn.BatchNorm1d(4)), "sync")
    finally:
        torch.distributed.destroy_process_group()
