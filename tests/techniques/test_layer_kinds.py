"""Every penalty and constraint on every kind of layer: what it does to the matrices that the layer applies, taken out
by hand one by one, it does to the layer's weight, by a session, in the proximal optimizers and in a population.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.penalties import Grouping, Orthogonality
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Proximal
from tests.population.helpers import demand_as_alone, member

Matrices = Callable[[Tensor], list[Tensor]]
"""The [outputs, inputs, ...] tensors of a weight, as views of it."""


def halves(w: Tensor) -> list[Tensor]:
    return [w[:3], w[3:]]


LAYERS: dict[str, tuple[Callable[[], nn.Module], Matrices, bool]] = {
    # The layer, its matrices, and whether an output is a row of one matrix alone.
    "linear": (lambda: nn.Linear(4, 6), lambda w: [w], True),
    "conv": (lambda: nn.Conv1d(4, 6, 2), lambda w: [w], True),
    "grouped": (lambda: nn.Conv2d(4, 6, 2, groups=2), halves, True),
    "depthwise": (lambda: nn.Conv1d(4, 4, 4, groups=4), lambda w: [w[k : k + 1] for k in range(4)], True),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 2), lambda w: [w.transpose(0, 1)], True),
    "grouped transposed": (
        lambda: nn.ConvTranspose1d(4, 6, 2, groups=2),
        lambda w: [w[:2].transpose(0, 1), w[2:].transpose(0, 1)],
        True,
    ),
    "embedding": (lambda: nn.Embedding(4, 6), lambda w: [w], True),
    "bilinear": (lambda: nn.Bilinear(2, 2, 3), lambda w: [w], True),
    "gates": (lambda: nn.GRUCell(4, 2), lambda w: [w[:2], w[2:4], w[4:]], False),
    "attention": (lambda: nn.MultiheadAttention(4, 2), lambda w: [w[:4], w[4:8], w[8:]], False),
}
NAMES = {"gates": "weight_ih", "attention": "in_proj_weight"}
PENALTIES = [
    dashpot.L1(strength=0.3),
    dashpot.penalties.ElasticNet(strength=0.3),
    dashpot.GroupLasso(strength=0.2, groups="rows"),
    dashpot.GroupLasso(strength=0.2, groups="columns", size_weights=False),
    dashpot.penalties.SparseGroupLasso(strength=0.2, groups="columns"),
    dashpot.penalties.GroupElasticNet(strength=0.2, groups="rows"),
    dashpot.penalties.SCAD(strength=0.3),
    dashpot.penalties.MCP(strength=0.3),
    dashpot.penalties.L0(strength=0.3),
    dashpot.penalties.MaxNorm(maximum=0.3),
    dashpot.penalties.MaxNorm(maximum=0.3, groups="columns", scaling="adaptive"),
    dashpot.penalties.UnitNorm(),
    dashpot.penalties.UnitNorm(groups="columns"),
    dashpot.penalties.NonNegative(),
    dashpot.penalties.NOfM(n=1, m=2),
    dashpot.penalties.NuclearNorm(strength=0.5),
    dashpot.penalties.TotalVariation(strength=0.1),
]
CASES = [
    (kind, penalty)
    for kind, (_, _, alone) in LAYERS.items()
    for penalty in PENALTIES
    if alone or not isinstance(getattr(penalty, "groups", None), Grouping)
]
IDS = [f"{kind}-{penalty.name}-{getattr(penalty, 'groups', '')}" for kind, penalty in CASES]
LR = 0.5


def layer_of(kind: str) -> tuple[nn.Module, str, Matrices]:
    torch.manual_seed(0)
    make, matrices, _ = LAYERS[kind]
    return make(), NAMES.get(kind, "weight"), matrices


def push(layer: nn.Module, name: str) -> None:
    """A gradient for that parameter alone."""
    w = layer.get_parameter(name)
    w.grad = torch.linspace(-0.3, 0.4, w.numel()).reshape(w.shape)


def expected(layer: nn.Module, name: str, matrices: Matrices, penalty: Proximal) -> Tensor:
    """After a step of SGD each matrix by itself, its weights in their plain order."""
    w = layer.get_parameter(name)
    moved = (w - LR * w.grad).detach().clone()
    for part in matrices(moved):
        part.copy_(penalty.prox(part.clone(memory_format=torch.contiguous_format), LR))
    return moved


@pytest.mark.parametrize(("kind", "penalty"), CASES, ids=IDS)
def test_a_weight_as_the_matrices_that_the_layer_applies(kind: str, penalty: Proximal) -> None:
    here = replace(penalty, on="everything & ~biases")
    layer, name, matrices = layer_of(kind)
    push(layer, name)
    after = expected(layer, name, matrices, penalty)
    assert not torch.allclose(after, layer.get_parameter(name) - LR * layer.get_parameter(name).grad)
    optimizer = torch.optim.SGD(layer.parameters(), lr=LR)
    with here.attach(layer, optimizer):
        optimizer.step()
    torch.testing.assert_close(layer.get_parameter(name).detach(), after)
    layer, name, matrices = layer_of(kind)
    push(layer, name)
    dashpot.optim.SGD(layer, lr=LR, penalty=here).step()
    torch.testing.assert_close(layer.get_parameter(name).detach(), after)


@pytest.mark.parametrize(
    ("kind", "penalty"),
    [(k, p) for k, p in CASES if isinstance(p, Penalty)],
    ids=[i for i, (_, p) in zip(IDS, CASES, strict=True) if isinstance(p, Penalty)],
)
def test_inspect_adds_up_the_same_matrices(kind: str, penalty: Penalty) -> None:
    layer, name, matrices = layer_of(kind)
    own = sum(float(penalty.value(part.contiguous())) for part in matrices(layer.get_parameter(name).detach()))
    found = dashpot.inspect(layer, replace(penalty, on=f"name:{name}"))
    assert next(found_layer for found_layer in found.layers if found_layer.name == name).penalty == pytest.approx(own)


@pytest.mark.parametrize("kind", LAYERS)
def test_orthogonality_of_each_matrix(kind: str) -> None:
    layer, name, matrices = layer_of(kind)
    push(layer, name)
    w = layer.get_parameter(name)
    after = (w - LR * w.grad).detach().clone()
    twin = w.detach().clone().requires_grad_()
    value = torch.zeros(())
    for part in matrices(twin):
        m = part.flatten(1)
        m = m if len(m) <= m.shape[1] else m.T
        value = value + 0.3 / 4 * (m @ m.T - torch.eye(len(m))).square().sum()
    (slope,) = torch.autograd.grad(value, twin)
    optimizer = torch.optim.SGD(layer.parameters(), lr=LR)
    technique = Orthogonality(strength=0.3, on=f"name:{name}")
    assert dashpot.inspect(layer, technique).layers[0].penalty == pytest.approx(value.item())
    with technique.attach(layer, optimizer):
        optimizer.step()
    torch.testing.assert_close(w.detach(), after - LR * slope)


@pytest.mark.parametrize("scaling", ["adaptive", "decoupled"])
def test_the_gates_of_a_unit_are_one_group_under_one_step_per_weight(scaling: Any) -> None:
    """By Adam, with the kernel's reach: 4 gates x 128 units x 96 inputs."""
    torch.manual_seed(0)
    lasso = dashpot.GroupLasso(strength=0.8 if scaling == "adaptive" else 1.2, scaling=scaling, groups="rows")
    found = []
    for own in (True, False):
        torch.manual_seed(0)
        cell = nn.LSTMCell(96, 128)
        with torch.no_grad():
            cell.weight_ih.mul_(torch.linspace(0, 1, 128).repeat(4)[:, None])
        optimizer: Any = (
            dashpot.optim.AdamW(cell, lr=1e-2, weight_decay=0.0, penalty=lasso)
            if own
            else torch.optim.AdamW(cell.parameters(), lr=1e-2, weight_decay=0.0)
        )
        session = dashpot.Recipe([] if own else [lasso]).attach(cell, optimizer)
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            for p in cell.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        session.close()
        found.append(cell.weight_ih.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    gates = found[0].reshape(4, 128, 96)
    dead = (gates == 0).all(dim=2)
    assert 0 < int(dead[0].sum()) < 128
    assert torch.equal(dead.all(dim=0), dead.any(dim=0))


class Mixed(nn.Module):
    """A grouped, a depthwise, and a plain or transposed convolution."""

    def __init__(self, last: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, groups=2)
        self.deep = nn.Conv2d(8, 8, 3, groups=8)
        self.last = last(8, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.relu(self.deep(torch.relu(self.first(x))))).mean(dim=(-2, -1))
        return out


@pytest.mark.parametrize(("last", "notes"), [(nn.Conv2d, 0), (nn.ConvTranspose2d, 1)])  # the second one by vmap
@pytest.mark.parametrize("groups", ["rows", "columns"])
def test_in_a_population(groups: str, last: type[nn.Module], notes: int) -> None:
    x = torch.randn(160, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    sets = [(x, torch.arange(160) % 3)]
    techniques = [
        dashpot.GroupLasso(strength=0.02, groups=groups),
        dashpot.penalties.MaxNorm(maximum=0.3, groups=groups),
        dashpot.penalties.NuclearNorm(strength=0.1),
    ]
    demand_as_alone([member(lambda: Mixed(last), (t,), seed=1) for t in techniques], sets, epochs=1, notes=notes)
