"""Networks of many kinds: stacked, mapped, or one by one, and always as alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot import nets
from dashpot.population.mapped import mapped
from dashpot.population.models import StackedModels
from dashpot.population.sequential import SequentialTrainer
from dashpot.population.stack import stacked
from tests.population.helpers import alone, demand_as_alone, demand_equal, member, normed, population, recipe

D: Any = dashpot
SOME = (D.Mixup(alpha=0.3), D.WeightDecay(strength=0.1), D.L1(strength=1e-3), D.EMA(decay=0.8))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm, self.head = nn.Embedding(7, 8, padding_idx=0), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.embedding(x)).mean(-2))
        return out


class Unknown(nn.Module):
    """A layer with a parameter of its own, written for one network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.factor, self.outer = (
            nn.Linear(6, 8, bias=False),
            nn.BatchNorm1d(8),
            Factor(),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(self.factor(self.norm(self.inner(x)).relu()))
        return out


class Factor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        assert x.ndim == 2
        return x * self.scale


class Branching(Unknown):
    """Looks at values, which neither a stack nor vmap can."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x)
        return out if float(out.detach().sum()) > 0 else 1.0 * out


class Mixing(nn.Module):
    """Its parts are known, but it takes the mean over the batch by the number of an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out - out.mean(dim=0, keepdim=True)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def images() -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(160, 1, 8, 8, generator=g), torch.randint(0, 3, (160,), generator=g))]


def test_convolutions() -> None:
    def make() -> nn.Module:
        return nets.ConvNet(1, 3, width=4)

    members = [
        member(make, (D.Dropout(p=0.2), *SOME), seed=1, lr=3e-3),
        member(make, (D.GroupLasso(strength=1e-3), D.SAM(rho=0.05)), seed=2, lr=3e-3),
    ]
    demand_as_alone(members, images(), epochs=2)


def test_embeddings_and_layer_normalization() -> None:
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 7, (160, 5), generator=g)
    demand_as_alone(
        [member(Tokens, SOME[1:], seed=1), member(Tokens, seed=2)], [(tokens, (tokens == 3).sum(1).clamp(max=2))]
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "batch", "scaling": False}, {"norm": "layer", "skip": True}, {"numeric": 4, "embedding": "periodic"}],
)
def test_the_network_for_tables(options: dict[str, Any]) -> None:
    def make() -> nn.Module:
        return nets.TableNet(6, 3, width=16, depth=2, **options)

    # With batch normalization, layers have biases that their normalization takes away again (see `normed`): their
    # gradient is rounding, and how far they go is what the members' own condition says.
    demand_as_alone([member(make, (D.Dropout(p=0.2), *SOME), seed=k) for k in range(2)])


def test_batch_normalization_with_one_layer_more() -> None:
    demand_as_alone([member(normed, (D.Dropout(p=0.2), *SOME), seed=1), member(normed, (D.SAM(rho=0.1),), seed=2)])


def test_unknown_layers_are_mapped() -> None:
    together = demand_as_alone([member(Unknown, SOME, seed=1), member(Unknown, (D.SAM(rho=0.05),), seed=2)], notes=1)
    assert isinstance(together._groups[0][0], StackedModels)
    assert together._groups[0][0].stack is mapped
    assert "vmap" in together.notes[0]
    assert "Factor" in together.notes[0]


def test_unknown_layers_with_dropout_go_one_by_one() -> None:
    places = D.Dropout(p=0.3, on="type:Factor")
    together = demand_as_alone([member(Unknown, (places, *SOME), seed=1), member(Unknown, seed=2)], notes=1)
    assert isinstance(together._groups[0][0], SequentialTrainer)
    assert "Dropout" in together.notes[0]


def test_what_looks_at_values_goes_one_by_one() -> None:
    together = demand_as_alone([member(Branching, SOME, seed=1)], notes=1)
    assert isinstance(together._groups[0][0], SequentialTrainer)


def test_a_forward_that_mixes_axes_is_seen_by_the_probe() -> None:
    together = demand_as_alone([member(Mixing, seed=1), member(Mixing, seed=2)], notes=1)
    assert together._groups[0][0].stack is mapped


def test_one_by_one_gives_the_same() -> None:
    members = [
        member(normed, (D.Dropout(p=0.2), *SOME, D.EarlyStopping(patience=1)), seed=k, lr=0.03) for k in range(3)
    ]
    one, many = population(members, stack=False, epochs=8), population(members, epochs=8)
    assert one.train(8)
    assert many.train(8)
    assert one.best_epochs == many.best_epochs
    assert one.alive == many.alive
    for i, m in enumerate(members):
        demand_equal(many.tensors(i), one.tensors(i), of=m, epochs=8)


def test_a_technique_without_stacked_form_sends_only_its_members_to_train_alone() -> None:
    class Mine(D.L2):  # a subclass may do something else than its base
        pass

    together = demand_as_alone(
        [member(techniques=(Mine(strength=0.1),)), member(seed=1), member(techniques=(D.L1(strength=1e-3),), seed=2)],
        notes=1,
    )
    assert [(type(group), numbers) for group, numbers in together._groups] == [
        (SequentialTrainer, [0]),
        (StackedModels, [1, 2]),
    ]


def test_recipes_in_different_orders_are_not_put_together() -> None:
    """Clipping before a penalty's gradient is not clipping after it."""
    one, other = D.L2(strength=0.3), D.GradientClipping(maximum=0.1)
    together = demand_as_alone(
        [member(techniques=t, seed=k) for k, t in enumerate([(one, other), (other, one), (one,), (other, one)])]
    )
    assert [numbers for _, numbers in together._groups] == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)), tied],
    ids=["dropout of its own", "shared parameters"],
)
def test_what_is_refused_is_trained_alone(make: Any) -> None:
    together = demand_as_alone([member(make, seed=1)], notes=1)
    assert isinstance(together._groups[0][0], SequentialTrainer)


def test_one_layer_in_two_places() -> None:
    def make() -> nn.Module:
        layer = nn.Linear(6, 6)
        return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 3))

    members = [member(make, SOME, seed=k) for k in range(2)]
    together = population(members)
    together.train(4)
    assert not together.notes
    for i, m in enumerate(members):
        demand_equal(together.model(i).state_dict(), alone(m)[0], of=m)


def test_stacked_outputs_are_those_of_the_members() -> None:
    models = [normed() for _ in range(3)]
    x = torch.randn(3, 5, 6)
    whole = stacked(models, x[0]).eval()
    for k, model in enumerate(models):
        assert torch.allclose(whole(x)[k], model.eval()(x[k]), atol=1e-6)
    assert recipe() == ()
