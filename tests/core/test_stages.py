"""The output layer of a network, also where its weight is computed or it has parts of its own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations

import dashpot
from dashpot.core.stages import head_of, head_or_none


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))


def test_a_computed_weight_does_not_hide_the_output_layer() -> None:
    model = network()
    assert head_of(model) == "2"
    parametrizations.weight_norm(model.get_submodule("2"))
    assert head_of(model) == "2"


def test_a_learned_rate_does_not_hide_the_output_layer() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dashpot.dropout.ConcreteDropout(0.2).attach(model, optimizer):
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
        assert len(list(model.parameters())) == 5
        assert head_of(model) == "2"


def test_what_ends_otherwise_has_none() -> None:
    assert head_or_none(nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5))) == ""
    assert head_or_none(nn.Linear(4, 2)) == ""
