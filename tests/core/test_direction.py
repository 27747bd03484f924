"""Optimizers that go up: what looks at the gradient's direction asks which way the optimizer goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.running.direction import by_direction, direction
from dashpot.core.running.view import ModelView

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)).double()


def trained(recipe: dashpot.core.technique.Technique, maximize: bool, steps: int = 3) -> Tensor:
    """The weights after some steps: down a loss, or up its negative."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=maximize)
    recipe.attach(model, optimizer, closure=True)

    def closure() -> Any:
        optimizer.zero_grad()
        loss: Tensor = (model(X) - 1).square().mean() * (-1 if maximize else 1)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return model.weight.detach().clone()


@pytest.mark.parametrize("technique", [dashpot.SAM(rho=0.5), dashpot.GradientClipping(maximum=0.01)])
def test_up_the_negative_is_down(technique: dashpot.core.technique.Technique) -> None:
    torch.testing.assert_close(trained(technique, True), trained(technique, False))


def test_directions_are_those_of_the_groups() -> None:
    model = nn.Linear(4, 1)
    groups: list[dict[str, Any]] = [{"params": [model.weight], "maximize": True}, {"params": [model.bias]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    params = ModelView(model, optimizer).params()
    assert [direction(group) for group in params.groups] == [-1, 1]
    assert [(way, part.names) for way, part in by_direction(params)] == [(1, ["bias"]), (-1, ["weight"])]
    assert by_direction(params.only([])) == []
    assert [way for way, _ in by_direction(params.only([0]))] == [-1]
    assert direction({}) == 1  # an optimizer that knows no `maximize`
