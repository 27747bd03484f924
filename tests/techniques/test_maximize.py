"""Under ``maximize=True`` the loss is climbed, and a penalty still pulls its weights to where it is small: to climb is
to descend the negative, step for step.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import dashpot
from dashpot.penalties import MaxNorm, NuclearNorm, Orthogonality, TotalVariation

OPTIMIZERS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.SGD, {"momentum": 0.9}),
    (torch.optim.SGD, {"fused": True}),
    (torch.optim.Adam, {}),
    (torch.optim.AdamW, {"foreach": True, "weight_decay": 0.0}),
    (torch.optim.Adam, {"fused": True, "amsgrad": True}),
    (torch.optim.RMSprop, {}),
    (torch.optim.Adagrad, {}),
    (torch.optim.NAdam, {}),
    (torch.optim.RAdam, {}),
    (torch.optim.Adamax, {}),
]
TECHNIQUES = [
    dashpot.L2(strength=0.5),
    dashpot.WeightDecay(strength=0.5),
    dashpot.L1(strength=0.05),
    dashpot.GroupLasso(strength=0.05, groups="columns"),
    MaxNorm(maximum=0.3),
    Orthogonality(strength=0.5),
    NuclearNorm(strength=0.5),
    TotalVariation(strength=0.05),
]


def trained(make: Any, options: dict[str, Any], technique: Any, maximize: tuple[bool, bool]) -> list[torch.Tensor]:
    """Two layers in groups of their own, which may go different ways."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 3), nn.Linear(3, 2)]
    model = nn.Sequential(*layers)
    groups = [{"params": layer.parameters(), "maximize": up} for layer, up in zip(layers, maximize, strict=True)]
    optimizer = make(groups, lr=0.05, **options)
    with technique.attach(model, optimizer):
        for number in range(4):
            for layer, up in zip(layers, maximize, strict=True):
                for p in layer.parameters():
                    g = torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
                    p.grad = -g if up else g
            optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("maximize", [(True, True), (False, True)])
@pytest.mark.parametrize(("make", "options"), OPTIMIZERS, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.name)
def test_climbing_is_descending_the_negative(
    make: Any, options: dict[str, Any], technique: Any, maximize: tuple[bool, bool]
) -> None:
    up = trained(make, options, technique, maximize)
    down = trained(make, options, technique, (False, False))
    for one, other in zip(up, down, strict=True):
        torch.testing.assert_close(one, other)
    free = trained(make, options, dashpot.Recipe(), (False, False))
    assert not torch.allclose(free[0], down[0])
