"""Monte-Carlo dropout and its ensemble, against closed forms and all sub-networks counted out."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot import dropout_ensemble_gap, mc_predict

SIGMAS = 6.5
"""How far a mean of independent draws may lie from what it should be: 8e-11 of normal ones lie farther."""


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def linear(p: float, own: bool, outputs: int = 1, inputs: int = 5) -> tuple[nn.Module, str | None]:
    """A linear model with dropout in front: its own, or attached."""
    head = nn.Linear(inputs, outputs)
    with torch.no_grad():
        head.weight.copy_(numbers(outputs, inputs, seed=1))
    first = nn.Dropout(p) if own else nn.Hardtanh(-9, 9)
    return nn.Sequential(first, head), None if own else f"dropout:p={p}"


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("batch_size", [7, 100_000])
def test_a_linear_model_has_the_mean_and_the_spread_of_the_closed_form(own: bool, batch_size: int) -> None:
    p, samples = 0.3, 4000 if batch_size > 7 else 100
    model, recipe = linear(p, own)
    x = numbers(6, 5, seed=2)
    found = mc_predict(model, x, samples, recipe=recipe, targets="values", batch_size=batch_size)
    w, b = model[1].weight.detach().double().numpy(), model[1].bias.detach().double().numpy()
    rows = x.double().numpy()
    mean, terms = rows @ w.T + b, (rows * w) ** 2 * p / (1 - p)
    std = np.sqrt(terms.sum(1, keepdims=True))
    assert (np.abs(found.mean.numpy() - mean) < SIGMAS * std / samples**0.5).all()
    # The variance of a squared deviation is below twice its square and the fourth moments of five terms.
    kurtosis = (terms**2).sum(1, keepdims=True) * ((1 - 2 * p) ** 2 / (p * (1 - p)) - 2)
    error = np.sqrt((2 * std**4 + kurtosis) / samples)
    assert (np.abs(found.std.numpy() ** 2 - std**2) < SIGMAS * error).all()
    assert (found.entropy, found.mutual_information, found.samples) == (None, None, samples)


@pytest.mark.parametrize("targets", ["classes", "multilabel"])
def test_entropy_and_information_are_those_of_all_sub_networks(targets: str) -> None:
    model, _ = linear(0.5, True, outputs=3, inputs=3)
    x, samples = numbers(4, 3, seed=3), 20_000
    w, b = model[1].weight.detach().double().numpy(), model[1].bias.detach().double().numpy()
    answers = []
    for mask in itertools.product((0, 2), repeat=3):  # eight, all as likely
        z = (x.double().numpy() * mask) @ w.T + b
        e = np.exp(z)
        answers.append(e / e.sum(1, keepdims=True) if targets == "classes" else e / (1 + e))
    every = np.stack(answers)

    def entropy(p: np.ndarray) -> np.ndarray:
        h = -p * np.log(p) - (0 if targets == "classes" else (1 - p) * np.log(1 - p))
        return h.sum(-1)

    found = mc_predict(model, x, samples, targets=targets, batch_size=1 << 20)  # type: ignore[arg-type]  # a word
    assert found.entropy is not None
    assert found.mutual_information is not None
    # All are within [0, 3 log 2], so that 20,000 draws are this near; see SIGMAS.
    near = SIGMAS * 3 * np.log(2) / 2 / samples**0.5
    np.testing.assert_allclose(found.mean, every.mean(0), atol=SIGMAS / 2 / samples**0.5)
    np.testing.assert_allclose(found.std, every.std(0), atol=SIGMAS / samples**0.5)
    np.testing.assert_allclose(found.entropy, entropy(every.mean(0)), atol=near)
    information = entropy(every.mean(0)) - entropy(every).mean(0)
    np.testing.assert_allclose(found.mutual_information, information, atol=2 * near)
    assert (information > 4 * near).any()


def test_batch_normalization_is_that_of_evaluation_and_all_is_as_before() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    model[1].running_mean.fill_(0.3)
    model.train()
    model[3].eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    x = numbers(3, 4)
    found = mc_predict(model, x, 50, targets="values", batch_size=10)
    assert [m.training for m in model] == [True, True, True, False]
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    hidden = model[:2].eval()(x).detach().double()
    spread = (hidden.square() @ model[3].weight.detach().double().square().T).sqrt()  # p / (1 - p) is 1
    assert bool((found.std / spread - 1).abs().max() < 0.8)
    again = mc_predict(model, x, 50, targets="values", batch_size=10)
    other = mc_predict(model, x, 50, targets="values", batch_size=10, seed=1)
    assert torch.equal(found.mean, again.mean)
    assert not torch.equal(found.mean, other.mean)


def test_a_training_goes_on_as_if_nobody_had_asked() -> None:
    def trained(asks: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with dashpot.Dropout(0.5).attach(model, optimizer):
            for _ in range(3):
                model(numbers(6, 4)).square().mean().backward()
                if asks:
                    assert bool((mc_predict(model, numbers(3, 4), 20).std > 0).any())
                optimizer.step()
                optimizer.zero_grad()
        return model[0].weight.detach()

    assert torch.equal(trained(True), trained(False))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.head(self.table(ids).mean(1)) * scale
        return out


def test_one_mask_for_a_batch_means_a_pass_for_each_sample() -> None:
    """Two equal rows of a batch have the same mask, and the samples of one row have not."""
    model = Words()
    inputs = {"ids": torch.tensor([[1, 2, 3], [1, 2, 3]]), "scale": torch.ones(2, 1)}
    found = mc_predict(model, inputs, 40, recipe="embedding-dropout:p=0.5", targets="values")
    assert torch.equal(found.mean[0], found.mean[1])
    assert bool((found.std > 0).all())


def test_attention_and_encoder_layers_drop() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 2)).eval()
    assert bool((mc_predict(model, numbers(2, 3, 8), 20).std > 0).all())
    for module in model.modules():  # attention alone
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert bool((mc_predict(model, numbers(2, 3, 8), 20).std > 0).all())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 1}, "samples must be a whole number >= 2"),
        ({"targets": "words"}, "targets must be one of classes"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"recipe": "mixup"}, "recipe must be dropouts only, got 'mixup'"),
        ({"x": torch.ones(0, 5)}, "at least one row"),
        ({"model": nn.Linear(5, 2)}, "nothing drops in Linear"),
        ({"model": nn.Sequential(nn.Dropout(0.0), nn.Linear(5, 2))}, "nothing drops"),
        ({"model": nn.Linear(5, 2), "recipe": "dropout"}, "matches no module"),
        ({"model": nn.Sequential(nn.Dropout(0.5), nn.Unflatten(1, (5, 1)))}, r"must give a tensor \[90, outputs\]"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options: dict[str, Any], told: str) -> None:
    given = {"model": linear(0.5, True)[0], "x": torch.ones(3, 5)} | options
    with pytest.raises(dashpot.DashpotError, match=told):
        mc_predict(**given)


def test_the_one_pass_of_a_linear_model_is_the_average_of_its_sub_networks() -> None:
    model, _ = linear(0.4, True, outputs=2)
    found = dropout_ensemble_gap(model, (numbers(50, 5), numbers(50, 2, seed=4)), 2000, targets="values")
    assert found.gap < 2 * found.noise
    assert found.gap < found.spread / 10
    assert found.agreement is None
    assert found.losses is not None
    assert found.losses["average"] < found.losses["sub-network"]


def test_losses_are_those_of_all_sub_networks() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(numbers(*p.shape, seed=k))
    x, y, samples = numbers(30, 3, seed=7), torch.arange(30) % 3, 4000
    found = dropout_ensemble_gap(model, (x, y.numpy()), samples)
    masks = torch.tensor(list(itertools.product((0.0, 2.0), repeat=3)))
    every = torch.stack([model[1:](x * m).double().softmax(1) for m in masks]).detach()
    one = model[1:](x).double().softmax(1).detach()
    assert found.gap == pytest.approx(float((one - every.mean(0)).abs().mean()), abs=0.01)
    assert found.spread == pytest.approx(float(every.std(0, correction=0).mean()), rel=0.05)
    assert found.agreement == pytest.approx(float((one.argmax(1) == every.mean(0).argmax(1)).double().mean()), abs=0.04)
    assert found.losses is not None
    pick = (torch.arange(30), y)
    assert found.losses["one pass"] == pytest.approx(float(-one[pick].log().mean()), rel=1e-5)
    assert found.losses["average"] == pytest.approx(float(-every.mean(0)[pick].log().mean()), rel=0.05)
    assert found.losses["sub-network"] == pytest.approx(float(-every[:, *pick].log().mean()), rel=0.05)
    assert dropout_ensemble_gap(model, x, 10).losses is None
    with pytest.raises(dashpot.DataError, match="as many, got 30 and 3"):
        dropout_ensemble_gap(model, (x, y[:3]))
    with pytest.raises(dashpot.DataError, match="class numbers"):
        dropout_ensemble_gap(model, (x, y.float()))


def test_random_weights_have_the_spread_of_the_closed_form() -> None:
    """A linear layer whose weights are dropped: one mask for all rows of a pass."""
    model, x, p, samples = nn.Sequential(nn.Linear(5, 2)), numbers(3, 5), 0.3, 1000
    found = mc_predict(model, x, samples, recipe=f"drop-connect:p={p},on=type:Linear", targets="values")
    w, b = model[0].weight.detach().double().numpy(), model[0].bias.detach().double().numpy()
    terms = (x.double().numpy()[:, None] * w) ** 2 * p / (1 - p)
    std, mean = np.sqrt(terms.sum(2)), x.double().numpy() @ w.T + b
    assert (np.abs(found.mean.numpy() - mean) < SIGMAS * std / samples**0.5).all()
    kurtosis = (terms**2).sum(2) * ((1 - 2 * p) ** 2 / (p * (1 - p)) - 2)
    error = np.sqrt((2 * std**4 + kurtosis) / samples)
    assert (np.abs(found.std.numpy() ** 2 - std**2) < SIGMAS * error).all()


FAMILY = (
    *("dropout:p=0.5", "channel-dropout:p=0.5", "drop-block:p=0.5,block=2", "gaussian-dropout:p=0.5"),
    *(
        "alpha-dropout:p=0.5",
        "drop-connect:p=0.5",
        "variational-dropout:p=0.5",
        "stochastic-depth:p=0.5,on=activations",
    ),
)


@pytest.mark.parametrize("recipe", FAMILY)
def test_every_dropout_is_sampled(recipe: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 2)).train()
    x = numbers(5, 1, 6, 6)
    found = mc_predict(model, x, 12, recipe=recipe, targets="values")
    assert bool((found.std > 1e-4).all())
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
