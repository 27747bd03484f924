"""Weight norm, weight standardization and spectral norm: against torch's and NumPy, at work, and in what they leave."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import dashpot
from dashpot.normalization import SpectralNorm, WeightNorm, WeightStandardization

KINDS = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), (4, 8)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), (4, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 2), (2, 3, 3, 3)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3), (4, 5, 5)),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 5)),
}
TECHNIQUES = [WeightNorm(on="name:*"), WeightStandardization(on="name:*"), SpectralNorm(on="name:*")]


def made(kind: str) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    make, shape = KINDS[kind]
    return nn.Sequential(make()).double(), torch.randn(5, *shape, dtype=torch.float64)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)


def outputs_of(layer: Any, weight: np.ndarray) -> np.ndarray:
    """[outputs, weights of each], by a loop."""
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return weight.reshape(len(weight), -1)
    within, wide = weight.shape[0] // layer.groups, weight.shape[1]
    rows = [weight[g * within : (g + 1) * within, j].ravel() for g in range(layer.groups) for j in range(wide)]
    return np.stack(rows)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    model(x).pow(2).mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_is_what_the_formula_says(kind: str) -> None:
    for technique in TECHNIQUES:
        model, x = made(kind)
        optimizer = sgd(model)
        before = outputs_of(model[0], model[0].weight.detach().numpy())
        with technique.attach(model, optimizer):
            now = outputs_of(model[0], model[0].weight.detach().numpy())
            if isinstance(technique, WeightNorm):
                np.testing.assert_allclose(now, before, rtol=1e-12)
            for _ in range(30):
                step(model, optimizer, x)
            steps: Any = model[0].parametrizations.weight
            now = outputs_of(model[0], model[0].weight.detach().numpy())
            if isinstance(technique, WeightNorm):
                v = outputs_of(model[0], steps.original1.detach().numpy())
                g = steps.original0.detach().numpy().reshape(-1)
                expected = g[:, None] * v / np.sqrt((v**2).sum(1, keepdims=True))
                np.testing.assert_allclose(now, expected, rtol=1e-9)
            elif isinstance(technique, WeightStandardization):
                w = outputs_of(model[0], steps.original.detach().numpy())
                expected = (w - w.mean(1, keepdims=True)) / np.sqrt(w.shape[1] * w.var(1, keepdims=True) + 1e-6)
                np.testing.assert_allclose(now, expected, rtol=1e-9, atol=1e-12)
            else:
                assert abs(np.linalg.svd(now)[1][0] - 1) < 1e-3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "transposed" not in kind])
def test_weight_norm_trains_as_torchs(kind: str) -> None:
    model, x = made(kind)
    twin = copy.deepcopy(model)
    parametrizations.weight_norm(twin[0])
    theirs, ours = sgd(twin), sgd(model)
    with WeightNorm().attach(model, ours) as session:
        for _ in range(5):
            step(twin, theirs, x)
            step(model, ours, x)
        plan = session.plan()
    assert "trains length and direction of weights apart of 1 layers: 0" in plan
    torch.testing.assert_close(model[0].weight, twin[0].weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(model(x), twin(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "transposed, grouped"])
def test_spectral_norm_trains_as_torchs(kind: str) -> None:
    """torch iterates in each forward pass, ours after each step: from the same vectors they see the same."""
    model, x = made(kind)
    twin = copy.deepcopy(model)
    parametrizations.spectral_norm(twin[0])
    inner: Any = twin[0].parametrizations.weight[0]
    theirs, ours = sgd(twin), sgd(model)
    with SpectralNorm().attach(model, ours):
        rule: Any = model[0].parametrizations.weight[0]
        # The other order of a transposed kernel's columns is another basis of the same space: start from torch's u.
        with torch.no_grad():
            matrix = rule.matrix(model[0].parametrizations.weight.original)
            rule.v.copy_(nn.functional.normalize(matrix.T @ inner._u, dim=0))
            rule.iterate(model[0].parametrizations.weight.original, 1)
        for _ in range(5):
            step(twin, theirs, x)
            step(model, ours, x)
        with torch.no_grad():
            # Of the next pass torch has not seen the weights yet.
            twin.train()(x)
        twin.eval()
        torch.testing.assert_close(model(x), twin(x), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(model[0].weight, twin[0].weight, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.kind())
def test_what_is_left_are_plain_weights_that_act_alike(technique: Any) -> None:
    model, x = made("conv2d")
    layer, weight, optimizer = model[0], model[0].weight, sgd(model)
    session = technique.attach(model, optimizer)
    assert not any(p is weight for p in optimizer.param_groups[0]["params"])
    for _ in range(3):
        step(model, optimizer, x)
    expected = model(x)
    twin = session.export()
    assert torch.equal(twin(x), expected)
    assert list(twin.state_dict()) == ["0.weight", "0.bias"]
    session.close()
    assert model[0] is layer
    assert layer.weight is weight
    assert type(layer) is nn.Conv2d
    assert torch.equal(model(x), expected)
    assert [p.shape for p in optimizer.param_groups[0]["params"]] == [p.shape for p in model.parameters()]
    step(model, optimizer, x)


def test_a_session_without_a_step_leaves_the_weights_as_they_were() -> None:
    for technique in TECHNIQUES:
        model, _ = made("linear")
        before = model[0].weight.detach().clone()
        technique.attach(model, sgd(model)).close()
        assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: t.kind())
def test_averages_and_best_weights_end_in_plain_weights(technique: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(48, 6)
    y = (x[:, 0] > 0).long()

    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    recipe = replace(technique, on="type:Linear") | dashpot.EMA(decay=0.8) | dashpot.EarlyStopping(patience=9)
    options: dict[str, Any] = {"recipe": recipe, "progress": False, "batch_size": 16, "valid": (x, y)}
    whole = dashpot.fit(network(), (x, y), epochs=4, **options)
    assert list(whole.model.state_dict()) == list(network().state_dict())
    dashpot.fit(network(), (x, y), epochs=4, checkpoint=tmp_path, **options)
    again = dashpot.fit(network(), (x, y), epochs=4, checkpoint=tmp_path, resume=True, **options)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_a_second_pass_of_sam_sees_the_same_vectors_and_evaluation_moves_none() -> None:
    model, x = made("linear")
    optimizer = sgd(model)
    seen: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        seen.append(model[0].parametrizations.weight[0].u.clone())
        return loss

    with (SpectralNorm() | dashpot.SAM(rho=0.1)).attach(model, optimizer, closure=True) as session:
        optimizer.step(closure)
        u = model[0].parametrizations.weight[0].u.clone()
        with session.evaluate():
            model(x)
        assert torch.equal(model[0].parametrizations.weight[0].u, u)
    assert torch.equal(seen[0], seen[1])


def test_copies_of_an_attached_model_carry_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    with (WeightNorm() | dashpot.Dropout(p=0.5, on="name:0")).attach(model, sgd(model)):
        assert model[0]._forward_hooks
        twin = copy.deepcopy(model)
    assert not any(m._forward_hooks for m in twin.modules())


def test_gain_follows_a_schedule() -> None:
    model, x = made("linear")
    optimizer = sgd(model)
    with WeightStandardization(gain="1to3", on="name:0").attach(model, optimizer, steps=4):
        spread = []
        for _ in range(3):
            spread.append(float(model[0].weight.detach().std(1, correction=0).mean()) * 6**0.5)
            step(model, optimizer, x)
    np.testing.assert_allclose(spread, [1.0, 1.5, 2.0], rtol=1e-3)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.words(x))
        return out


def zeroed() -> nn.Module:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] = 0
    return nn.Sequential(layer)


def all_zero() -> nn.Module:
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(layer)


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "tied": (Tied, WeightNorm(), "WeightNorm cannot act on 'head.weight': 'words' has the same tensor. Leave it out"),
    "no direction": (zeroed, WeightNorm(), "'0.weight': the weights of output 1 are all zero and have no direction"),
    "all zero": (all_zero, SpectralNorm(), "all zero and have no largest singular value"),
    "one weight": (
        lambda: nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1)),
        WeightStandardization(),
        "'0.weight': each output has a single weight, which has no variance. Leave it out with on='linears & ~name:0"
        " | convolutions & ~name:0'",
    ),
    "the root": (lambda: nn.Linear(3, 2), SpectralNorm(), "one layer stands in an nn.Sequential"),
    "recurrent": (
        lambda: nn.Sequential(nn.LSTM(3, 4)),
        WeightNorm(on="name:0"),
        "'0' (LSTM): it computes the weights of linear layers",
    ),
    "already": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))),
        SpectralNorm(),
        "SpectralNorm cannot act on '0': WeightNorm computes its weight already",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_computed_is_refused_by_name(name: str) -> None:
    make, technique, told = REFUSED[name]
    model = make()
    with pytest.raises(dashpot.ConflictError, match=re.escape(told)):
        technique.attach(model, sgd(model))
    assert not any(hasattr(m, "parametrizations") for m in model.modules() if name != "already")


def test_decay_beside_it_is_refused_and_the_way_out_works() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(
        dashpot.ConflictError, match="WeightDecay.* which WeightNorm computes .* leave it out with"
    ) as told:
        (WeightNorm(on="name:0") | dashpot.WeightDecay()).attach(model, sgd(model))
    way = str(told.value).split("on='")[1].split("'")[0]
    (WeightNorm(on="name:0") | dashpot.WeightDecay(on=way)).attach(model, sgd(model)).close()


def test_an_optimizers_own_penalty_goes_on_where_it_may() -> None:
    """Its lists beside the parameters follow the layer that leaves and the ones that come."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = dashpot.optim.AdamW(model, lr=0.05, penalty=dashpot.L1(strength=0.2, on="name:2.weight"))
    before = list(optimizer.param_groups[0]["penalized"])
    x = torch.randn(32, 4)
    with WeightNorm(on="name:0").attach(model, optimizer):
        for _ in range(60):
            step(model, optimizer, x)
    assert optimizer.param_groups[0]["penalized"] == before
    assert not model[2].weight.any()
    assert bool(model[0].weight.all())
    step(model, optimizer, x)
