"""Concrete dropout: masks and penalties against the paper's formulas, its parameter's way through a training, and what
rates it learns.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive, stream
from dashpot.dropout import ConcreteDropout, SingleEpochWarning, learned_rates
from dashpot.techniques.dropout.concrete_dropout import concrete_dropout, concrete_penalty, penalty_gradients


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def sgd(model: nn.Module, **options: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def kept(name: str, size: tuple[int, ...], p: float, t: float = 0.1) -> np.ndarray:
    """What inputs are multiplied with at the first call of that place, in float64."""
    key = derive(stream(stream(5, "concrete-dropout"), name), 0, 0)
    u = uniform_by([key], math.prod(size)).reshape(size).double().numpy() + 2.0**-25
    return (1 - 1 / (1 + np.exp(-(np.log(p / (1 - p)) + np.log(u / (1 - u))) / t))) / (1 - p)


def test_what_passes_is_the_relaxed_mask_of_the_place() -> None:
    model, x = mlp(), numbers(6, 4)
    first, second = (layer.weight.detach().double().numpy() for layer in (model[0], model[2]))
    biases = [layer.bias.detach().double().numpy() for layer in (model[0], model[2])]
    plain = model(x).detach()
    session = ConcreteDropout(0.3).attach(model.train(), sgd(model), seed=5)
    found = model(x).detach()
    hidden = np.maximum((x.double().numpy() * kept("0", (6, 4), 0.3)) @ first.T + biases[0], 0)
    expected = (hidden * kept("2", (6, 8), 0.3)) @ second.T + biases[1]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    with session.evaluate():
        assert torch.equal(model(x), plain)
    session.close()
    assert torch.equal(model(x), plain)


def test_of_convolutions_whole_channels_are_dropped() -> None:
    layer, x = nn.Conv2d(3, 2, 2, bias=False), 1 + numbers(2, 3, 4, 4).abs()
    model = nn.Sequential(layer)
    session = ConcreteDropout(0.3).attach(model.train(), sgd(model), seed=5)
    found, alone = model(x), model(x[0])
    session.close()
    by = torch.from_numpy(kept("0", (2, 3, 1, 1), 0.3)).float()
    torch.testing.assert_close(found, layer(x * by), rtol=1e-3, atol=1e-4)
    assert alone.shape == (2, 3, 3)


def test_masks_are_near_0_and_1_at_the_rate() -> None:
    u = torch.rand(200_000, generator=torch.Generator().manual_seed(0)).double()
    u = (u * 2**24).floor() / 2**24
    passed = concrete_dropout(torch.ones(len(u)).double(), u, torch.tensor(math.log(0.2 / 0.8)).double(), 0.01)
    dropped = float((passed < 0.5 / 0.8).double().mean())
    assert abs(dropped - 0.2) < 6.5 * math.sqrt(0.16 / len(u))  # z > 1/2 has probability p at any temperature
    assert abs(float(passed.mean()) - 1) < 0.01


def test_gradients_of_the_penalty_are_autograds() -> None:
    w = numbers(3, 4).double().requires_grad_()
    for logit in (-3.0, 0.0, 2.0):
        a = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
        by_weight, by_logit = torch.autograd.grad(concrete_penalty(w, a, 0.3, 0.7, 4), [w, a])
        own = penalty_gradients(w.detach(), a.detach(), 0.3, 0.7, 4)
        torch.testing.assert_close((by_weight, by_logit), own)


@pytest.mark.parametrize("maximize", [False, True])
def test_a_step_goes_down_loss_and_penalty(maximize: bool) -> None:
    """Where the loss is constant, weights and logit move by the penalty's gradient alone."""
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    optimizer = sgd(model, maximize=maximize)
    with ConcreteDropout(0.3, decay=0.5, entropy=0.2).attach(model.train(), optimizer) as session:
        weight = model[0].weight.detach().double().numpy().copy()
        (0 * model(numbers(3, 4))).sum().backward()
        optimizer.step()
        (rate,) = learned_rates(session).values()
    p, a = 0.3, math.log(0.3 / 0.7)
    np.testing.assert_allclose(model[0].weight.detach(), weight * (1 - 0.1 * 0.5 / (1 - p)), rtol=1e-5, atol=1e-7)
    a -= 0.1 * (0.25 * (weight**2).sum() * p / (1 - p) + 0.2 * 4 * p * (1 - p) * a)
    assert rate == pytest.approx(1 / (1 + math.exp(-a)), rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_rate_is_in_the_optimizer_without_decay_and_gone_afterwards(decay: float) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(
        [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters(), "lr": 0.02}],
        weight_decay=decay,
    )
    before = [list(map(id, group["params"])) for group in optimizer.param_groups]
    keys = list(model.state_dict())
    session = ConcreteDropout(0.3, decay=0.0, entropy=0.0).attach(model.train(), optimizer)
    logits = [model[i].concrete_dropout.logit for i in (0, 2)]
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert [of[id(logit)]["lr"] for logit in logits] == [0.01, 0.02]
    assert [of[id(logit)]["weight_decay"] for logit in logits] == [0.0, 0.0]
    assert len(optimizer.param_groups) == (4 if decay else 2)
    for logit in logits:
        logit.grad = torch.zeros(())
    optimizer.step()
    assert learned_rates(model) == pytest.approx({"0": 0.3, "2": 0.3})
    assert "0 0.3, 2 0.3" in session.plan()
    twin = session.export()
    session.close()
    assert list(model.state_dict()) == list(twin.state_dict()) == keys
    assert [list(map(id, group["params"])) for group in optimizer.param_groups] == before
    assert not any(id(p) == id(logit) for p in optimizer.state for logit in logits)
    assert learned_rates(session) == pytest.approx({"0": 0.3, "2": 0.3})
    with pytest.raises(dashpot.UsageError, match="no learned rates"):
        learned_rates(model)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_an_optimizer_that_knows_names_gets_one(decay: float) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.01, weight_decay=decay)
    before = list(optimizer.param_groups[0]["param_names"])
    with ConcreteDropout(0.3).attach(model.train(), optimizer):
        model(numbers(3, 4)).sum().backward()
        optimizer.step()
        names = [name for group in optimizer.param_groups for name in group["param_names"]]
        assert names == [*before, "0.concrete_dropout.logit", "2.concrete_dropout.logit"]
        assert len(names) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert [group["param_names"] for group in optimizer.param_groups] == [before]


def test_no_decay_or_penalty_of_a_recipe_moves_the_rate() -> None:
    model = mlp().train()
    optimizer = sgd(model)
    recipe = ConcreteDropout(0.3, decay=0.0, entropy=0.0) | dashpot.WeightDecay(0.5) | dashpot.L1(strength=0.5)
    with recipe.attach(model, optimizer) as session:
        (0 * model(numbers(3, 4))).sum().backward()
        optimizer.step()
        assert learned_rates(session) == pytest.approx({"0": 0.3, "2": 0.3})


def test_a_checkpoint_has_the_rates() -> None:
    def start() -> tuple[nn.Module, torch.optim.Optimizer, dashpot.Session]:
        model = mlp().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
        return model, optimizer, ConcreteDropout(0.2, entropy=0.1).attach(model, optimizer)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            model(numbers(6, 4)).square().mean().backward()
            optimizer.step()

    whole = start()
    steps(*whole[:2], 3)
    saved = copy.deepcopy([part.state_dict() for part in whole])
    again = start()
    for part, state in zip(again, saved, strict=True):
        part.load_state_dict(state)
    for one in (whole, again):
        steps(*one[:2], 3)
    assert learned_rates(again[2]) == learned_rates(whole[2])
    assert learned_rates(again[2]) != pytest.approx({"0": 0.2, "2": 0.2}, abs=1e-3)
    again[2].close()
    assert len(again[1].param_groups) == 1


def test_fit_trains_with_it() -> None:
    x, model = numbers(64, 4), mlp()
    y = (x[:, 0] > 0).long()
    recipe = ConcreteDropout(0.2, entropy=0.01) | dashpot.averaging.Snapshots(2)
    result = dashpot.fit(model, (x, y), recipe=recipe, epochs=3, progress=False)
    assert len(result.history) == 3
    assert list(model.state_dict()) == list(mlp().state_dict())
    assert [sorted(kept) for kept in result.snapshots] == 2 * [sorted(mlp().state_dict())]


def test_inputs_that_only_disturb_are_dropped_more() -> None:
    """Two layers on two halves of the inputs: one carries the target, the other is noise. The first one's rate falls,
    the other's rises to where entropy is largest.
    """

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.signal, self.noise = nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.signal(x[:, :4]) + self.noise(x[:, 4:])
            return out

    torch.manual_seed(0)
    x, model = numbers(256, 8), Halves().train()
    y = x[:, :4].sum(1, keepdim=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    with ConcreteDropout(0.2, entropy=0.01).attach(model, optimizer) as session:
        for _ in range(150):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
        rates = learned_rates(session)
    assert rates["signal"] < 0.1
    assert rates["noise"] > 0.25


def test_mc_predict_samples_at_the_learned_rates() -> None:
    model = nn.Sequential(nn.Linear(5, 1))
    x, samples = 1 + numbers(6, 5).abs(), 2000
    session = ConcreteDropout(0.3, temperature=0.01).attach(model, sgd(model))
    with torch.no_grad():
        model[0].concrete_dropout.logit.fill_(math.log(0.2 / 0.8))
    found = dashpot.mc_predict(model, x, samples, targets="values")
    session.close()
    w, rows = model[0].weight.detach().double().numpy(), x.double().numpy()
    mean = rows @ w.T + model[0].bias.detach().double().numpy()
    std = np.sqrt(((rows * w) ** 2).sum(1, keepdims=True) * 0.2 / 0.8)  # of masks that are 0 or 1
    # Relaxed masks have nearly the same mean and less variance; 0.02 is far above what they lack at t = 0.01.
    assert (np.abs(found.mean.numpy() - mean) < (6.5 / samples**0.5 + 0.02) * std).all()
    assert (np.abs(found.std.numpy() / std - 1) < 0.25).all()
    with pytest.raises(dashpot.ConfigError, match="sample inside the session"):
        dashpot.mc_predict(model, x, recipe=ConcreteDropout(0.3))


def test_what_it_cannot_act_on_is_refused() -> None:
    cases: list[tuple[nn.Module, str, str]] = [
        (nn.Sequential(nn.ReLU()), "linears", r"ConcreteDropout\.on .* matches no module"),
        (mlp(), "type:ReLU", r"cannot act on '1' \(ReLU\)"),
        (mlp(), "type:Linaer", "Did you mean type:Linear"),
        (nn.Linear(4, 2), "linears", "inside a model"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))), "linears", "cannot act on '0'"),
        (nn.Sequential(nn.Linear(4, 2).requires_grad_(False), nn.Linear(2, 2)), "name:0", "cannot act on '0'"),
        (nn.Sequential(nn.Bilinear(4, 4, 2)), "type:Bilinear", r"cannot act on '0' \(Bilinear\)"),
    ]
    for model, on, told in cases:
        keys = list(model.state_dict())
        with pytest.raises(dashpot.ConflictError, match=told):
            ConcreteDropout(0.1, on=on).attach(model, sgd(nn.Sequential(model, nn.Linear(2, 2))))
        assert list(model.state_dict()) == keys
    for wrong in (-0.1, 0.0, 1.0):
        with pytest.raises(dashpot.ConfigError, match=r"ConcreteDropout\.p must be"):
            ConcreteDropout(wrong)
    model = mlp()
    with pytest.warns(SingleEpochWarning):
        ConcreteDropout(0.1).attach(model, sgd(model), steps=50, steps_per_epoch=50).close()
