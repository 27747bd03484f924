"""Selections that find nothing, and weights that are computed from others: told before any work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import dashpot
from dashpot.core.running.selecting import SelectionWarning
from dashpot.penalties import MaxNorm, Orthogonality

pytestmark = pytest.mark.filterwarnings("ignore:this session saw no optimizer step")


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).T


class LowRank(nn.Module):
    """What adapters add to a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))

    def forward(self, w: Tensor) -> Tensor:
        return w + self.a @ self.b


def adapted(layer: nn.Linear) -> nn.Module:
    layer.weight.requires_grad_(False)
    parametrize.register_parametrization(layer, "weight", LowRank())
    return layer


def symmetric(layer: nn.Linear) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


def old(make: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def quietly(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return make(layer)

    return quietly


MADE: dict[str, tuple[Callable[[Any], nn.Module], str]] = {
    "weight norm": (parametrizations.weight_norm, "WeightNorm"),
    "weight norm of before": (old(nn.utils.weight_norm), "weight_norm"),
    "spectral norm": (parametrizations.spectral_norm, "SpectralNorm"),
    "spectral norm of before": (old(nn.utils.spectral_norm), "spectral_norm"),
    "orthogonal": (parametrizations.orthogonal, "Orthogonal"),
    "one's own": (symmetric, "Symmetric"),
    "low rank": (adapted, "LowRank"),
}
TECHNIQUES = [
    dashpot.L1(),
    dashpot.GroupLasso(),
    MaxNorm(),
    dashpot.L2(),
    dashpot.WeightDecay(),
    Orthogonality(),
    dashpot.L1(on="everything"),
    dashpot.L1(on="name:0.*"),
    dashpot.L1(on="type:Linear | embeddings"),
]


def net(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(MADE[kind][0](nn.Linear(4, 4)), nn.Linear(4, 2))


def sgd(model: nn.Module) -> Any:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("technique", TECHNIQUES, ids=str)
def test_a_computed_weight_is_refused_with_the_way_out(kind: str, technique: Any) -> None:
    model = net(kind)
    name = type(technique).__name__
    with pytest.raises(dashpot.ConflictError) as told:
        technique.attach(model, sgd(model))
    message = str(told.value)
    assert message.startswith(f"{name}.on ({technique.on}) selects '0.weight', which {MADE[kind][1]} computes from 0.")
    way = message.split("on='")[1].split("'")[0]
    if way != "name:0.* & ~name:0.*":  # where nothing else was selected
        with type(technique)(on=way).attach(model, sgd(model)) as session:
            assert not [n for n in session.view.names(session.recipe[0].on) if n.startswith("0.")]
            assert "1.weight" in session.view.names(session.recipe[0].on)


@pytest.mark.parametrize("kind", MADE)
def test_what_it_is_computed_from_is_no_weight_and_may_be_asked_for(kind: str) -> None:
    model = net(kind)
    with dashpot.L1(on="reparametrized").attach(model, sgd(model)) as session:
        roles = {name: role for name, role in session.view.roles.items() if role == "reparametrized"}
        assert set(session.view.names(session.recipe[0].on)) == set(roles)
        assert all(name.startswith("0.") for name in roles)
        assert session.view.roles["1.weight"] == "weights"
        assert session.view.roles["0.bias"] == "biases"
    with pytest.raises(dashpot.ConflictError, match="selects '0.weight'"):
        dashpot.optim.SGD(model, lr=0.1, penalty=dashpot.L1())
    with pytest.raises(dashpot.ConflictError, match="selects '0.weight'"):
        dashpot.max_strength(model, torch.randn(5, 4), torch.randn(5, 2), dashpot.L1())


@pytest.mark.parametrize("kind", MADE)
def test_inspect_reports_the_weight_that_is_applied(kind: str) -> None:
    model = net(kind).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = dashpot.inspect(model, dashpot.L1(strength=2.0))
    assert [layer.name for layer in found.layers] == ["0.weight", "1.weight"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.eval()
    identity = torch.eye(4)
    applied = (model[0](identity) - model[0](0 * identity)).T
    assert found.layers[0].norm == pytest.approx(float(applied.norm().detach()), rel=1e-4)
    assert found.layers[0].penalty == pytest.approx(2 * float(applied.abs().sum().detach()), rel=1e-4)


def test_weight_decay_on_the_length_alone_is_weight_decay_on_a_normalized_weight() -> None:
    """As the card of weight decay says; ``w = g v / |v|``."""
    model = net("weight norm")
    before = model[0].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with dashpot.WeightDecay(strength=0.5, on="name:*.original0").attach(model, optimizer):
        (0 * model(torch.ones(1, 4))).sum().backward()
        optimizer.step()
    torch.testing.assert_close(model[0].weight, 0.95 * before)


def test_a_pruned_weight_is_penalized_as_one() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    prune.random_unstructured(model[0], "weight", amount=0.5)
    optimizer = sgd(model)
    with dashpot.L1(strength=0.5).attach(model, optimizer):
        for _ in range(10):
            optimizer.zero_grad()
            (0 * model(torch.ones(1, 4))).sum().backward()
            optimizer.step()
    assert not (model[0].weight_orig * model[0].weight_mask).any()


# --- selections of nothing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dashpot.L1, dashpot.L2, dashpot.WeightDecay, Orthogonality, MaxNorm])
@pytest.mark.parametrize(
    ("on", "near"),
    [
        ("embeddings", ""),
        ("hidden", ""),
        ("activations | norms", ""),
        ("weights & norms", ""),
        ("name:0.weigth", "Did you mean name:0.weight?"),
        ("type:Linaer", "Did you mean type:Linear?"),
    ],
)
def test_nothing_is_selected(make: Any, on: str, near: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(dashpot.ConflictError) as told:
        make(on=on).attach(model, sgd(model))
    assert f"{make.__name__}.on ({on}) matches no parameter of Sequential" in str(told.value)
    assert "which has 0.weight, 0.bias (weights 1, biases 1)." in str(told.value)
    assert str(told.value).endswith(near)


def test_the_default_selection_may_be_empty_with_a_warning() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3))
    with pytest.warns(SelectionWarning, match=r"L1.on \(weights\) matches no parameter .* L1 does nothing here"):
        dashpot.L1().attach(model, sgd(model)).close()


def test_only_parameters_that_the_optimizer_lacks() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    with pytest.warns(SelectionWarning, match=r"does not update \(0.weight\), so that L1 does nothing until it does"):
        session = dashpot.L1().attach(model, torch.optim.SGD([model[0].bias], lr=0.1))
    session.close()
    model[0].weight.requires_grad_(False)  # what is frozen may be unfrozen later
    dashpot.L1().attach(model, torch.optim.SGD(model.parameters(), lr=0.1)).close()


def test_half_precision_loses_small_steps() -> None:
    model = nn.Linear(4, 4).bfloat16()
    with pytest.warns(SelectionWarning, match="less than 0.004 of a weight is lost in rounding"):
        dashpot.L1().attach(model, sgd(model)).close()


def test_a_misspelt_role_has_a_suggestion() -> None:
    with pytest.raises(dashpot.UnknownNameError, match="Did you mean 'weights'"):
        dashpot.Where.role("wieghts")
    with pytest.raises(dashpot.ConfigError, match=r"L1.on must be .*Did you mean 'norms'"):
        dashpot.L1(on="weights | norm")
    for empty in (dashpot.Where.name, dashpot.Where.type):
        with pytest.raises(dashpot.ConfigError, match="must be a text that is not empty"):
            empty("")


@pytest.mark.parametrize("technique", [dashpot.L1(), dashpot.GroupLasso(), dashpot.L2(), dashpot.WeightDecay()])
def test_a_lazy_layer_is_refused_until_it_has_a_shape(technique: Any) -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    for act in (lambda: technique.attach(model, sgd(model)), lambda: dashpot.inspect(model)):
        with pytest.raises(dashpot.ConflictError, match="0.weight of Sequential has none yet. Pass one batch through"):
            act()
    with pytest.raises(dashpot.ConflictError, match="selected_features needs the shapes"):
        dashpot.selected_features(model)
    model(torch.ones(1, 3))
    technique.attach(model, sgd(model)).close()
