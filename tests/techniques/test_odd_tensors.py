"""Penalties on tensors of other kinds: no values, one value, other memory, half and double precision, complex, not
finite, with sparse gradients, and parameters that are shared or updated by two groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.penalties import (
    L0,
    MCP,
    SCAD,
    GroupElasticNet,
    HardThreshold,
    MaxNorm,
    NOfM,
    NonNegative,
    NuclearNorm,
    Orthogonality,
    SparseGroupLasso,
    TotalVariation,
    UnitNorm,
)
from dashpot.techniques.penalties.proximal import Proximal

pytestmark = [
    pytest.mark.filterwarnings("ignore:this session saw no optimizer step"),
    pytest.mark.filterwarnings("ignore:w is in half precision"),
]
TECHNIQUES = [
    dashpot.L1(strength=0.5),
    dashpot.ElasticNet(strength=0.5),
    dashpot.GroupLasso(strength=0.2),
    dashpot.GroupLasso(strength=0.2, groups="layer"),
    SparseGroupLasso(strength=0.5),
    GroupElasticNet(strength=0.5),
    SCAD(strength=0.5),
    MCP(strength=0.5),
    L0(strength=0.5),
    HardThreshold(keep=0.5),
    MaxNorm(maximum=0.5),
    MaxNorm(maximum=0.5, scaling="adaptive"),
    UnitNorm(),
    NonNegative(),
    NOfM(n=1, m=2),
    NuclearNorm(strength=0.5),
    TotalVariation(strength=0.5),
    dashpot.L2(strength=0.5),
    dashpot.WeightDecay(strength=0.5),
    Orthogonality(strength=0.5),
]
IDS = [f"{t.name}-{getattr(t, 'groups', '')}-{getattr(t, 'scaling', '')}" for t in TECHNIQUES]
MAPS = [t for t in TECHNIQUES if isinstance(t, Proximal)]
MAP_IDS = [i for t, i in zip(TECHNIQUES, IDS, strict=True) if isinstance(t, Proximal)]


class Hold(nn.Module):
    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1, eps=1e-3)


def slope(w: Tensor) -> Tensor:
    return torch.linspace(-1, 1.5, w.numel()).reshape(w.shape).to(w.dtype)


def stepped(technique: Any, w: Tensor, make: Callable[[Any], torch.optim.Optimizer] = sgd, steps: int = 2) -> Tensor:
    model = Hold(w)
    optimizer = make(model.parameters())
    with replace(technique, on="everything").attach(model, optimizer):
        for _ in range(steps):
            model.w.grad = slope(w)
            optimizer.step()
    return model.w.detach()


def weight(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("technique", [t for t in TECHNIQUES if not isinstance(t, NOfM)], ids=str)
def test_one_value_and_no_values(technique: Any, make: Any) -> None:
    if isinstance(technique, NuclearNorm) or make is sgd:
        technique = replace(technique)  # its own scaling suits both
    one = stepped(technique, torch.tensor(0.7), make)
    in_a_row = stepped(technique, torch.tensor([0.7]), make)
    torch.testing.assert_close(one.reshape(1), in_a_row)
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        assert stepped(technique, torch.zeros(shape), make).shape == shape
        model = Hold(torch.zeros(shape))
        assert dashpot.inspect(model, replace(technique, on="everything")).layers == ()


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("technique", TECHNIQUES, ids=IDS)
def test_the_order_in_memory_does_not_matter(technique: Any, make: Any) -> None:
    w = weight(4, 2, 3, 3)
    w = weight(4, 2, 2, 2) if isinstance(technique, NOfM) else w
    plain = stepped(technique, w.clone(), make)
    last = stepped(technique, w.clone().contiguous(memory_format=torch.channels_last), make)
    wide = torch.zeros(*w.shape[:-1], 2 * w.shape[-1])
    wide[..., ::2] = w
    cut = stepped(technique, wide[..., ::2], make)
    assert not last.is_contiguous()
    assert not cut.is_contiguous()
    torch.testing.assert_close(last, plain)
    torch.testing.assert_close(cut, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("technique", MAPS, ids=MAP_IDS)
def test_half_precision_is_mapped_in_float32(technique: Any, dtype: torch.dtype) -> None:
    """By SGD, whose own step is the same in both: the map of the rounded weights, rounded once."""
    w = weight(4, 6, dtype=dtype)
    moved = w.clone().add_(slope(w), alpha=-0.1)
    got = stepped(technique, w.clone(), steps=1)
    assert got.dtype is dtype
    step = 0.1
    assert torch.equal(got, technique.prox(moved.float(), step).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_of_adam_in_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    w, optimizer = weight(4, 6, dtype=dtype), None
    model = Hold(w.clone())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, eps=1e-3)
    model.w.grad = slope(w)
    plain = Hold(w.clone())
    own = torch.optim.Adam(plain.parameters(), lr=0.1, eps=1e-3)
    plain.w.grad = slope(w)
    with dashpot.L1(strength=0.5, on="everything").attach(model, optimizer):
        optimizer.step()
    own.step()
    second = own.state[plain.w]["exp_avg_sq"].float()
    threshold = 0.5 * 0.1 / ((second / (1 - 0.999)).sqrt() + 1e-3)
    moved = plain.w.detach().float()
    expected = (moved.sign() * (moved.abs() - threshold).clamp(min=0)).to(dtype)
    torch.testing.assert_close(model.w.detach(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=IDS)
def test_double_precision_is_kept(technique: Any) -> None:
    """The same weights in float32 end elsewhere, by about float32's rounding."""
    w = weight(4, 6, dtype=torch.float64)
    double, single = stepped(technique, w.clone()), stepped(technique, w.float())
    assert double.dtype is torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)
    if isinstance(technique, Proximal):
        moved = w - 0.1 * slope(w)
        once = stepped(technique, w.clone(), steps=1)
        torch.testing.assert_close(once, technique.prox(moved, 0.1), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=IDS)
def test_complex_weights_are_decayed_or_refused(technique: Any) -> None:
    w = torch.complex(weight(4, 6), weight(6, 4).T)
    if not isinstance(technique, dashpot.L2 | dashpot.WeightDecay):
        told = f"{type(technique).__name__} acts on dense real weights, and w is complex"
        with pytest.raises(dashpot.ConflictError, match=told):
            stepped(technique, w.clone())
        return
    # Both are squared moduli: real and imaginary parts by themselves.
    got = stepped(technique, w.clone())
    pairs = stepped(technique, torch.view_as_real(w).clone(), steps=0)
    for _ in range(2):
        pairs = pairs - 0.1 * (torch.view_as_real(slope(w)) + 0.5 * pairs)
    torch.testing.assert_close(torch.view_as_real(got), pairs)
    if isinstance(technique, dashpot.L2):
        found = dashpot.inspect(Hold(w), replace(technique, on="everything")).layers[0]
        assert found.penalty == pytest.approx(0.25 * float(torch.view_as_real(w).square().sum()))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("technique", [NuclearNorm(strength=0.5), TotalVariation(strength=0.5)], ids=str)
def test_what_is_not_finite_ends_in_no_error_of_torch(technique: Any, bad: float) -> None:
    w = weight(4, 6)
    w[1, 2] = bad
    got = stepped(technique, w.clone(), steps=1)
    moved = w - 0.1 * slope(w)
    torch.testing.assert_close(got[1], moved[1], equal_nan=True)
    assert dashpot.inspect(Hold(w), replace(technique, on="everything")).layers[0].rank is None


@pytest.mark.parametrize("technique", [dashpot.L2(), Orthogonality()])
def test_sparse_gradients_are_refused_where_gradients_are_added_to(technique: Any) -> None:
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2))
    technique.attach(model, sgd(model.parameters())).close()  # weights only
    way = "leave it out with `on`"
    with pytest.raises(dashpot.ConflictError, match=rf"Embedding\(sparse=True\) gives '0.weight' sparse ones.*{way}"):
        replace(technique, on="embeddings").attach(model, sgd(model.parameters()), closure=True)


@pytest.mark.parametrize("technique", [dashpot.L1(strength=0.5), MaxNorm(maximum=0.1, groups="columns")], ids=str)
def test_the_map_after_a_sparse_gradient_is_that_after_a_dense_one(technique: Any) -> None:
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Embedding(5, 3, sparse=sparse)
        optimizer = sgd(model.parameters())
        with replace(technique, on="embeddings").attach(model, optimizer):
            for _ in range(3):
                optimizer.zero_grad()
                model(torch.tensor([1, 3, 1])).square().sum().backward()
                optimizer.step()
        found.append(model.weight.detach())
    torch.testing.assert_close(*found)


def test_a_shared_parameter_is_mapped_once_and_groups_have_learning_rates_of_their_own() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    last = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(first, second, last)
    before = first.weight.detach().clone(), last.weight.detach().clone()
    optimizer = torch.optim.SGD([{"params": [first.weight], "lr": 0.1}, {"params": [last.weight], "lr": 0.3}], lr=1.0)
    with dashpot.L1(strength=0.5).attach(model, optimizer):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    for layer, w, lr in ((first, before[0], 0.1), (last, before[1], 0.3)):
        torch.testing.assert_close(layer.weight.detach(), w.sign() * (w.abs() - 0.5 * lr).clamp(min=0))


@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)])
@pytest.mark.parametrize("technique", [t for t in MAPS if hasattr(t, "strength")], ids=str)
def test_a_learning_rate_of_zero_moves_nothing(technique: Any, lr: Any) -> None:
    w = weight(4, 6)
    for make in (torch.optim.Adam, torch.optim.SGD):
        got = stepped(technique, w.clone(), lambda p, make=make: make(p, lr=lr))
        assert torch.equal(got, w)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=IDS)
def test_a_learning_rate_in_a_tensor_is_that_number(technique: Any) -> None:
    w = weight(4, 6)
    for make in (torch.optim.Adam, torch.optim.SGD):
        found = [
            stepped(technique, w.clone(), lambda p, lr=lr, make=make: make(p, lr=lr)) for lr in (0.1, torch.tensor(0.1))
        ]
        torch.testing.assert_close(*found)
