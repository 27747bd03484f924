"""Parts that stay in evaluation mode, what the optimizer itself does, and errors inside a session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import dashpot
from dashpot.core.running.modes import resting
from dashpot.core.running.view import ModelView
from dashpot.population.stack import stacked
from dashpot.population.twins import NotStackableError

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


def test_frozen_statistics_stay_in_fit_and_the_plan_says_so() -> None:
    model = net()
    model[1].eval()
    model[1].running_mean.add_(1.0)  # type: ignore[union-attr,operator]  # a batch normalization has it
    before = {name: t.clone() for name, t in model[1].named_buffers()}
    result = dashpot.fit(model, (X, Y), valid=(X, Y), epochs=2, batch_size=16, recipe="ema", progress=False)
    assert all(torch.equal(before[name], t) for name, t in model[1].named_buffers())
    assert "1 (BatchNorm1d): in evaluation mode" in result.plan


def test_a_model_in_evaluation_mode_is_trained_as_a_whole() -> None:
    model = net().eval()
    before = model[1].running_mean.clone()  # type: ignore[union-attr,operator]  # a batch normalization has it
    result = dashpot.fit(model, (X, Y), epochs=1, batch_size=16, progress=False)
    assert not torch.equal(before, model[1].running_mean)  # type: ignore[arg-type]  # a buffer is a tensor
    assert "always" not in result.plan


def test_dropout_rests_where_its_module_does() -> None:
    model = net()
    session = dashpot.Dropout(p=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    model[2].eval()
    assert not torch.equal(model[:3](X), torch.zeros(32, 6))
    assert resting(model) == ["2"]
    assert "2 (Dropout): in evaluation mode" in session.plan()
    with session.evaluate():
        assert resting(model) == []
    assert resting(model) == ["2"]


def test_networks_with_frozen_statistics_are_not_stacked() -> None:
    models = [net() for _ in range(2)]
    for model in models:
        model[1].eval()
        model[2] = nn.ReLU()
    with pytest.raises(NotStackableError, match="1 stays in evaluation mode"):
        stacked(models, X[:3])


def test_the_plan_tells_what_the_optimizer_does() -> None:
    model = net()
    optimizer = dashpot.optim.AdamW(model, penalty=dashpot.L1(strength=0.1))
    plan = dashpot.EMA().attach(model, optimizer).plan()
    assert "optimizer: l1" in plan
    assert "2 tensors, 42 values" in plan


@pytest.mark.parametrize("given", ["model", "parameters"])
def test_an_average_has_the_zeros_of_the_optimizers_penalty(given: str) -> None:
    model = net()
    optimizer = dashpot.optim.AdamW(
        model if given == "model" else model.parameters(), lr=0.1, penalty=dashpot.L1(strength=0.3)
    )
    session = dashpot.EMA(decay=0.9).attach(model, optimizer)
    for _ in range(20):
        optimizer.zero_grad()
        cross_entropy(model(X), Y).backward()
        optimizer.step()
    zeros = model[0].weight == 0
    assert bool(zeros.any())
    assert bool((session.export()[0].weight[zeros] == 0).all())  # type: ignore[index]  # it is a Sequential


def test_a_proximal_step_of_ones_own_beside_the_optimizers_is_refused() -> None:
    class Own(dashpot.Technique):
        exclusive = ("proximal step",)

        def acts_on(self, view: ModelView) -> Iterable[str]:
            return ["0.weight"]

        def on_step(self, params: Any, ctx: Any) -> None: ...

    model = net()
    optimizer = dashpot.optim.AdamW(model, penalty=dashpot.L1(strength=0.1))
    with pytest.raises(dashpot.ConflictError, match=r"own and the optimizer's penalty L1.* of '0\.weight'"):
        Own().attach(model, optimizer)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_anywhere_leaves_the_model_clean(kind: type[BaseException]) -> None:
    """In the second pass of SAM, and in an evaluation with averaged weights."""
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recipe = dashpot.SAM(rho=0.5) | dashpot.Dropout(p=0.1) | dashpot.L1()
    passes: list[torch.Tensor] = []

    def closure() -> Any:
        optimizer.zero_grad()
        passes.append(model[0].weight.detach().clone())
        if len(passes) == 2:
            raise kind
        loss = cross_entropy(model(X), Y)
        loss.backward()
        return loss

    before = model[0].weight.detach().clone()
    with pytest.raises(kind), recipe.attach(model, optimizer, closure=True):
        optimizer.step(closure)
    assert not torch.equal(passes[0], passes[1])
    assert torch.equal(model[0].weight, before)
    assert model[1].p == 0.5
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(kind), dashpot.EMA(decay=0.5).attach(model, optimizer) as session:
        for _ in range(2):
            optimizer.zero_grad()
            cross_entropy(model(X), Y).backward()
            optimizer.step()
        raw = model[0].weight.detach().clone()
        try:
            with session.evaluate():
                assert not torch.equal(model[0].weight, raw)
                raise kind
        finally:
            assert torch.equal(model[0].weight, raw)
            assert model.training
