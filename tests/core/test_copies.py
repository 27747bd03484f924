"""Copies of a model, weights that are loaded after attach, and optimizer steps that are none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import dashpot
from dashpot.core.running.idle import IdleSessionWarning
from tests.core.small import net, sgd, train

# --- copies ----------------------------------------------------------------------------------------------------------


def test_an_optimizer_of_another_model_is_refused() -> None:
    model = net()
    optimizer = sgd(model)
    with pytest.raises(dashpot.ConflictError, match="none of the 4 parameters of this SGD belongs to this Sequential"):
        dashpot.L1().attach(copy.deepcopy(model), optimizer)


def test_steps_on_a_copy_are_noticed_by_the_old_optimizer() -> None:
    model = net()
    optimizer = sgd(model)
    session = dashpot.L1().attach(model, optimizer)
    model = copy.deepcopy(model)
    with pytest.warns(IdleSessionWarning, match="no gradient on any parameter of Sequential.*copied"):
        train(model, optimizer, 1)
    train(model, optimizer, 2)  # said once
    assert session.step == 0


def test_a_session_that_saw_no_step_says_so_at_the_end() -> None:
    model = net()

    def train_a_copy() -> None:
        with (dashpot.L1() | dashpot.EMA()).attach(model, sgd(model)):
            twin = copy.deepcopy(model)
            train(twin, sgd(twin))

    with pytest.warns(IdleSessionWarning, match=r"saw no optimizer step, so L1, EMA never acted.*copied"):
        train_a_copy()


def test_a_step_without_gradients_in_a_closure_does_not_count() -> None:
    model = net()
    optimizer = sgd(model)
    session = dashpot.EMA().attach(model, optimizer)
    with pytest.warns(IdleSessionWarning):
        optimizer.step(lambda: 0.0)
    assert session.step == 0
    train(model, optimizer)
    assert session.step == 3


# --- weights that are loaded -----------------------------------------------------------------------------------------


def test_an_average_begins_with_the_weights_that_are_loaded_before_the_first_step() -> None:
    model = net()
    optimizer = sgd(model)
    session = dashpot.EMA(decay=0.999, warmup=False).attach(model, optimizer)
    loaded = {name: tensor + 10 for name, tensor in model.state_dict().items()}
    model.load_state_dict(loaded)
    with session.evaluate():
        assert torch.equal(model[0].weight, loaded["0.weight"])
    expected = loaded["0.weight"]
    for _ in range(2):
        train(model, optimizer, 1)
        expected = 0.999 * expected + 0.001 * model[0].weight.detach()
    torch.testing.assert_close(session.snapshot()["0.weight"], expected)


def test_a_score_before_the_first_step_stays() -> None:
    model = net()
    optimizer = sgd(model)
    session = (dashpot.EMA() | dashpot.EarlyStopping()).attach(model, optimizer)
    with session.evaluate():
        pass
    session.epoch({"val_loss": 0.5})
    train(model, optimizer)
    assert not session.epoch({"val_loss": 0.6}).best


# --- steps that only make state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_state_dict_of_a_fresh_optimizer_is_no_step(kind: Any) -> None:
    from torch.distributed.checkpoint.state_dict import get_state_dict

    model = net()
    optimizer = kind(model.parameters(), lr=0.1)
    recipe = (
        dashpot.HardThreshold(on="name:0.*")
        | dashpot.UnitNorm(on="name:3.weight")
        | dashpot.EMA()
        | dashpot.InputNoise(std=0.1)
    )
    session = recipe.attach(model, optimizer)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    get_state_dict(model, optimizer)
    assert session.step == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_learning_rate_of_zero_alone_is_a_step() -> None:
    model = net()
    optimizer = sgd(model, lr=0.0)
    session = dashpot.EMA().attach(model, optimizer)
    train(model, optimizer)
    assert session.step == 3


def test_a_part_of_a_model_cannot_have_a_session_of_its_own_beside_the_whole() -> None:
    model = net()
    with dashpot.Dropout(p=0.5).attach(model, sgd(model)):
        part = model[3]
        with pytest.raises(dashpot.ConflictError, match="already carries an open session"):
            dashpot.L1().attach(part, sgd(part))
    part = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    whole = nn.Sequential(part, nn.Linear(2, 1))
    dashpot.Dropout(p=0.5, on="activations").attach(part, sgd(part))
    with pytest.raises(dashpot.ConflictError, match="this model's '0' .* already carries an open session"):
        dashpot.Dropout(p=0.5).attach(whole, sgd(whole))
