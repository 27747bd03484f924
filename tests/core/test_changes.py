"""Models and optimizers that change after attach: replaced heads and modules, layers that are frozen and unfrozen."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import dashpot
from dashpot.core.running.following import ModelChangedWarning
from tests.core.small import X, Y, net, sgd, train


def replace_head(model: nn.Sequential, optimizer: torch.optim.Optimizer | None, outputs: int = 3) -> nn.Linear:
    torch.manual_seed(7)
    model[3] = head = nn.Linear(6, outputs)
    if optimizer is not None:
        optimizer.add_param_group({"params": list(head.parameters()), "lr": 0.0})
    return head


# --- a replaced head -------------------------------------------------------------------------------------------------


def test_a_new_head_is_decayed_from_its_first_step() -> None:
    model = net()
    optimizer = sgd(model)
    dashpot.WeightDecay(strength=0.5).attach(model, optimizer)
    train(model, optimizer)
    head = replace_head(model, optimizer)
    optimizer.param_groups[1]["lr"] = 1.0
    for p in head.parameters():
        p.grad = torch.zeros_like(p)
    before = head.weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(head.weight, 0.5 * before)  # lr x strength


@pytest.mark.parametrize("outputs", [3, 5])
@pytest.mark.parametrize("steps", [0, 2])
def test_an_average_ends_in_the_tensors_that_it_is_of(outputs: int, steps: int) -> None:
    """The body has its average over all steps, the head that of its own steps."""
    model = net()
    optimizer = sgd(model)
    with dashpot.EMA(decay=0.5, warmup=False).attach(model, optimizer):
        body = model[0].weight.detach().clone()
        for _ in range(3):
            train(model, optimizer, 1)
            body = 0.5 * body + 0.5 * model[0].weight.detach()
        head = replace_head(model, optimizer, outputs)
        raw = head.weight.detach().clone()
        for _ in range(steps):
            train(model, optimizer, 1)
            body = 0.5 * body + 0.5 * model[0].weight.detach()
    torch.testing.assert_close(model[0].weight.detach(), body)
    assert torch.equal(head.weight, raw)  # its learning rate is 0, so its average is what it was


@pytest.mark.parametrize("technique", [dashpot.EMA(), dashpot.EarlyStopping()], ids=lambda t: t.name)
def test_an_error_of_the_loop_is_the_one_that_is_raised(technique: Any) -> None:
    model = net()
    optimizer = sgd(model)
    with pytest.raises(KeyError, match="the loop's own"), technique.attach(model, optimizer) as session:
        train(model, optimizer)
        session.epoch({"val_loss": 1.0})
        replace_head(model, optimizer, 5)
        with pytest.warns(ModelChangedWarning) if technique.name == "early-stopping" else contextlib.nullcontext():
            train(model, optimizer)
        raise KeyError("the loop's own")
    assert model[2].p == 0.3


def test_best_weights_of_another_head_are_not_put_back() -> None:
    model = net()
    optimizer = sgd(model)
    with dashpot.EarlyStopping(patience=2).attach(model, optimizer) as session:
        train(model, optimizer)
        session.epoch({"val_loss": 0.1})
        replace_head(model, optimizer)
        with pytest.warns(ModelChangedWarning, match=r"3\.bias, 3\.weight changed.*begins anew"):
            assert session.epoch({"val_loss": 0.9}).best
        train(model, optimizer)
        kept = copy.deepcopy(model.state_dict())
        session.epoch({"val_loss": 0.5})
        train(model, optimizer)
        session.epoch({"val_loss": 0.7})
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())


def test_a_head_that_the_optimizer_does_not_have_is_named() -> None:
    model = net()
    optimizer = sgd(model)
    session = (dashpot.EMA() | dashpot.L1()).attach(model, optimizer)
    train(model, optimizer)
    head = replace_head(model, None, 5)
    raw = head.weight.detach().clone()
    with pytest.warns(ModelChangedWarning, match=r"3\.weight, 3\.bias were replaced .*add_param_group"):
        train(model, optimizer)
    session.finish()
    assert torch.equal(head.weight, raw)


def test_a_parameter_that_is_exchanged_in_place_is_followed() -> None:
    model = net()
    optimizer = sgd(model)
    dashpot.WeightDecay(strength=1.0).attach(model, optimizer)
    train(model, optimizer)
    model[3].weight = nn.Parameter(torch.ones(3, 6))
    optimizer.param_groups[0]["params"][2] = model[3].weight
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model[3].weight.detach(), torch.full((3, 6), 0.9))


def test_new_modules_get_dropout_and_old_ones_their_own_rate() -> None:
    model = net()
    optimizer = sgd(model)
    with dashpot.Dropout(p=1.0).attach(model, optimizer) as session:
        assert bool((model(X) == model[3].bias).all())  # all that reaches the head is dropped
        old, model[2] = model[2], nn.Dropout(0.1)
        assert session.plan().count("after 1 modules: 2") == 1
        assert bool((model(X) == model[3].bias).all())
        assert old.p == 0.3
        assert not old._forward_hooks
    assert model[2].p == 0.1


def test_what_cannot_act_on_the_new_parts_is_refused_until_it_can() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 3))
    optimizer = sgd(model)
    dashpot.Dropout(p=0.5).attach(model, optimizer)
    train(model, optimizer)
    model[1] = nn.Identity()
    for _ in range(2):
        with pytest.raises(dashpot.ConflictError, match=r"Dropout\.on .* matches no module"):
            train(model, optimizer, 1)
    model[1] = nn.ReLU()
    train(model, optimizer, 1)


def test_layers_that_are_unfrozen_have_exact_zeros_in_their_average() -> None:
    model = net()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    session = (dashpot.L1(strength=0.5) | dashpot.EMA(decay=0.9)).attach(model, optimizer)
    train(model, optimizer)
    model[0].weight.requires_grad_(True)
    train(model, optimizer, 10)
    assert bool((model[0].weight == 0).all())
    assert bool((session.export()[0].weight == 0).all())  # type: ignore[index]  # it is a Sequential


def test_a_layer_that_is_frozen_midway_rests() -> None:
    model = net()
    optimizer = sgd(model)
    session = (dashpot.L1(strength=0.1) | dashpot.WeightDecay(0.1) | dashpot.SAM() | dashpot.EMA()).attach(
        model, optimizer, closure=True
    )

    def closure() -> Any:
        optimizer.zero_grad()
        loss = cross_entropy(model(X), Y)
        loss.backward()
        return loss

    optimizer.step(closure)
    model[0].requires_grad_(False)
    frozen = model[0].weight.detach().clone()
    for _ in range(2):
        optimizer.step(closure)
    assert torch.equal(model[0].weight, frozen)
    session.finish()
