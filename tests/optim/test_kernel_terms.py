"""A penalty of another package says what the kernel needs; a subclass with another map does not inherit it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.optim import SGD, AdamW
from dashpot.techniques.penalties import native
from dashpot.techniques.penalties.fast import KernelTerms, runs_of, terms_of
from dashpot.techniques.penalties.penalty import Penalty
from tests.population.helpers import demand_as_alone, member


class DeclaredTerms(Penalty):
    """L1 and L2 at a ratio of its own, without an attribute for it."""

    separable = True

    def penalty_value(self, w: Tensor, strength: Any) -> Tensor:
        return strength * (w.abs().sum() + w.square().sum())

    def penalty_prox(self, w: Tensor, step: Any, strength: Any) -> Tensor:
        return w.sign() * (w.abs() - step * strength).relu() / (1 + 2 * step * strength)

    def kernel_terms(self) -> KernelTerms:
        return KernelTerms(l1=self.strength, l2=2 * self.strength)


class StrongerL1(dashpot.L1):
    """Another map than its base."""

    def map_(self, w: Tensor, step: Any) -> None:
        w.copy_(self.prox(w, step))

    def adam_map_(self, w: Tensor, v: Tensor, gain: float, floor: float) -> bool:
        return False

    def penalty_prox(self, w: Tensor, step: Any, strength: Any) -> Tensor:
        return w.sign() * (w.abs() - 3 * step * strength).relu()


def trained(make: Any, penalty: Penalty, engine: str) -> Tensor:
    model = nn.Linear(300, 200)
    with torch.no_grad():
        model.weight.copy_(0.05 * torch.randn(200, 300, generator=torch.Generator().manual_seed(0)))
    optimizer = make(model, lr=0.01, penalty=penalty, engine=engine)
    for step in range(4):
        for p in model.parameters():
            p.grad = p.detach() - 0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        optimizer.step()
    return model.weight.detach()


@pytest.mark.skipif(native.kernel() is None, reason="no C++ compiler")
@pytest.mark.parametrize("make", [AdamW, SGD])
@pytest.mark.parametrize(
    "penalty", [DeclaredTerms(strength=3e-3), StrongerL1(strength=1e-3)], ids=["declared", "another map"]
)
def test_by_the_kernel_as_by_the_map(make: Any, penalty: Penalty, monkeypatch: pytest.MonkeyPatch) -> None:
    rules: list[str] = []
    run = native.run
    monkeypatch.setattr(native, "run", lambda rule, *args, **options: rules.append(rule) or run(rule, *args, **options))
    fast = trained(make, penalty, "native")
    assert bool(rules) == isinstance(penalty, DeclaredTerms)
    torch.testing.assert_close(fast, trained(make, penalty, "eager"), rtol=2e-5, atol=2e-6)
    assert 0 < int((fast == 0).sum()) < fast.numel()


def test_only_the_class_that_declares_terms_has_them() -> None:
    class SameMap(dashpot.L1):
        pass

    assert terms_of(dashpot.L1(strength=0.5)) == (0.5, 0, 0)
    assert terms_of(dashpot.ElasticNet(strength=1.0, l1_ratio=0.25)) == (0.25, 0.75, 0)
    assert terms_of(dashpot.GroupLasso(strength=0.5)) == (0, 0, 0.5)
    assert terms_of(dashpot.SparseGroupLasso(strength=1.0, l1_ratio=0.25)) == (0.25, 0, 0.75)
    assert terms_of(dashpot.GroupElasticNet(strength=1.0, l1_ratio=0.25)) == (0, 0.75, 0.25)
    for penalty in (
        SameMap(),
        StrongerL1(),
        dashpot.MCP(),
        dashpot.MaxNorm(),
        dashpot.GroupLasso(groups=torch.arange(6)),
    ):
        assert terms_of(penalty) is None


def test_where_the_kernel_finds_groups() -> None:
    def runs(groups: Any, *shape: int) -> Any:
        return dashpot.GroupLasso(groups=groups).kernel_runs(shape)

    assert runs("rows", 8, 6) == (6, 1, 1, 6**0.5)
    assert runs("rows", 8, 3, 5, 5) == runs("filters", 8, 3, 5, 5) == (75, 1, 1, 75**0.5)
    assert runs("columns", 8, 6) == (1, 6, 8, 8**0.5)
    assert runs("input-channels", 8, 3, 5, 5) == (25, 3, 8, 200**0.5)
    assert runs("columns", 1, 6) == (1, 1, 1, 1.0)
    assert runs("heads:4", 8, 6) == (12, 1, 1, 12**0.5)
    assert runs("heads:2x3", 12, 5) == (10, 2, 3, 30**0.5)
    assert runs("block:4x2", 8, 6) == (2, 3, 4, 8**0.5)
    assert runs("block:4x6", 8, 6) == (24, 1, 1, 24**0.5)
    assert runs("layer", 8, 6) == (48, 1, 1, 48**0.5)
    assert runs(torch.arange(48) % 5, 8, 6) is None
    assert dashpot.GroupLasso(groups="layer", size_weights=False).kernel_runs((8, 6)) == (48, 1, 1, 1.0)
    assert dashpot.L1().kernel_runs((8, 6)) is None
    assert runs_of((2, 3, 4, 5), inside=(1, 3)) == (5, 4, 3, 1.0)
    assert runs_of((2, 3, 4, 5, 6), inside=(0, 2, 4)) is None


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 7, 1, 3), (6, 1), (1, 6), (5,), (4, 4, 2)])
def test_runs_are_the_groups_of_the_layout(shape: tuple[int, ...]) -> None:
    """Numbering weights by group through the view, and by the runs."""
    numel = torch.Size(shape).numel()
    for axes in range(1 << len(shape)):
        inside = [a for a in range(len(shape)) if axes >> a & 1]
        found = runs_of(shape, inside)
        if found is None:
            continue
        outside = [1 if a in inside else n for a, n in enumerate(shape)]
        number = torch.arange(torch.Size(outside).numel()).reshape(outside).expand(shape).reshape(-1)
        row, across, down, _ = found
        slab = torch.arange(numel // (row * across * down))[:, None, None, None]
        by_runs = (slab * across + torch.arange(across)[:, None]).expand(-1, down, across, row).reshape(-1)
        assert torch.equal(by_runs, number)


def test_in_a_population() -> None:
    demand_as_alone(
        [member(techniques=(DeclaredTerms(strength=3e-3),)), member(techniques=(StrongerL1(strength=1e-3),)), member()]
    )
