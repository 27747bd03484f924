"""Layers that read parameters otherwise than as their weights: what stays is told, whatever it is made by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import dashpot


class StandardizedConv(nn.Conv2d):
    """Each filter has mean 0 and variance 1, but for a filter of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        rows = functional.batch_norm(self.weight.reshape(1, self.out_channels, -1), None, None, training=True)
        return self._conv_forward(x, rows.reshape_as(self.weight), self.bias)


def constant(layer: nn.Module, x: Tensor) -> int:
    """How many channels are one number at each place, by looking."""
    with torch.no_grad():
        lines = layer(x).transpose(0, 1).flatten(1)
    return int((lines.amax(1) - lines.amin(1) < 1e-9).sum())


def standardized(groups: int) -> tuple[nn.Sequential, list[int]]:
    model = nn.Sequential(StandardizedConv(4, 8, 1), nn.ReLU(), StandardizedConv(8, 12, 1, groups=groups), nn.ReLU())
    return nn.Sequential(*model, nn.Flatten(), nn.Linear(12 * 9, 3)).double(), [0, 2]


def linear() -> tuple[nn.Sequential, list[int]]:
    return nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.ReLU(), weight_norm(nn.Linear(8, 4))).double(), [0]


@pytest.mark.parametrize("groups", [1, 2])
def test_each_constant_channel_of_standardized_weights_is_told(groups: int) -> None:
    torch.manual_seed(0)
    model, layers = standardized(groups)
    x = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    expected = {}
    with torch.no_grad():
        for at, dead in zip(layers, (3, 4), strict=True):
            model[at].weight[:dead] = 0
            model[at].bias.uniform_(0.1, 0.5)
            expected[f"its weight is computed (in {at})"] = dead
    assert [constant(model[:1], x), constant(model[:3], x)] == [3, 4]
    found = dashpot.shrink(model, x)
    assert dict(found.stayed) == expected
    assert torch.equal(found.model(x), model(x))


def test_inputs_of_a_computed_weight_stay_and_its_outputs_are_told() -> None:
    torch.manual_seed(0)
    model, (at,) = linear()
    with torch.no_grad():
        model[at].parametrizations.weight.original0[:2] = 0  # lengths of rows
    found = dashpot.shrink(model, torch.randn(5, 6, dtype=torch.float64))
    assert sum(found.stayed.values()) == 2
    assert all("is computed" in reason for reason in found.stayed)


def test_a_bias_that_depends_on_the_input_is_not_taken_for_a_constant() -> None:
    class Steered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.steer, self.head = nn.Parameter(torch.randn(4, 3)), nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(functional.linear(x, self.weight * 2, self.steer(x).mean(0)))

    torch.manual_seed(0)
    model = Steered().double()
    with torch.no_grad():
        model.weight[:2] = 0
    found, x = dashpot.shrink(model, torch.randn(5, 3, dtype=torch.float64)), torch.randn(7, 3, dtype=torch.float64)
    assert torch.allclose(found.model(x), model(x), rtol=1e-9)
    assert not found.stayed


def test_a_parameter_that_a_module_is_given_is_no_hindrance() -> None:
    """Such as a class token, which image transformers give their first block."""

    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.block, self.head = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.token) + self.block(x).relu())

    model = Token().double()
    with torch.no_grad():
        model.block.weight[:2], model.block.bias[:2] = 0, 0
    model.head.bias.requires_grad_(False)
    x = torch.randn(3, 4, dtype=torch.float64)
    found = dashpot.shrink(model, x)
    assert found.before.macs == (4 * 4 * 6 + 3 * 6 * 2) // 3  # of three rows, and one of the token
    assert torch.allclose(found.model(x), model(x), rtol=1e-9)
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False]
