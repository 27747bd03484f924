"""Label smoothing towards the shares of the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import dashpot
from dashpot.core.errors import ConfigError, DataError, UsageError
from dashpot.core.recipe import Recipe
from dashpot.labels import class_prior
from dashpot.population.members import Member
from dashpot.population.population import Population

PRIOR = (0.6, 0.3, 0.1)
X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3


def attached(recipe: dashpot.LabelSmoothing, outputs: int = 3, **options: object) -> tuple[nn.Module, object]:
    torch.manual_seed(0)
    model = nn.Linear(4, outputs)
    return model, recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("places", [(), (5,)])
def test_it_is_the_cross_entropy_against_the_blend_with_the_prior(soft: bool, places: tuple[int, ...]) -> None:
    y = (Y.reshape(-1, *[1] * len(places)) + torch.zeros(24, *places, dtype=torch.long)) % 3
    hard = one_hot(y, 3).movedim(-1, 1).float()
    target = 0.8 * hard + 0.2 * hard.flip(0) if soft else y
    _, session = attached(dashpot.LabelSmoothing(0.3, prior=PRIOR), targets="classes")
    session.batch(X, target)
    out = torch.randn(24, 3, *places, generator=torch.Generator().manual_seed(1))
    shares = torch.tensor(PRIOR).reshape(1, 3, *[1] * len(places))
    blend = 0.7 * (target if soft else hard) + 0.3 * shares
    torch.testing.assert_close(session.loss(nn.CrossEntropyLoss(), out), cross_entropy(out, blend))


def test_a_prior_of_equal_shares_is_none() -> None:
    for prior in (None, (1 / 3, 1 / 3, 1 / 3)):
        model, session = attached(dashpot.LabelSmoothing(0.3, prior=prior))
        batch = session.batch(X, Y)
        loss = session.loss(nn.CrossEntropyLoss(), model(batch.x))
        torch.testing.assert_close(loss, cross_entropy(model(X), Y, label_smoothing=0.3))


def test_what_is_ignored_stays_out() -> None:
    y = Y.clone()
    y[::4] = -100
    model, session = attached(dashpot.LabelSmoothing(0.3, prior=PRIOR), ignore_index=-100)
    batch = session.batch(X, y)
    loss = session.loss(nn.CrossEntropyLoss(), model(batch.x))
    kept = y >= 0
    blend = 0.7 * one_hot(y[kept], 3) + 0.3 * torch.tensor([PRIOR])
    torch.testing.assert_close(loss, cross_entropy(model(X[kept]), blend))


def test_members_with_priors_of_their_own_train_as_alone() -> None:
    """Beside a member without smoothing and one without a prior."""
    recipes = [f"label-smoothing:smoothing=0.3,prior={p}" for p in ("0.6 0.3 0.1", "0.1 0.2 0.7", "none")] + [""]

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def trained(some: list[str]) -> list[torch.Tensor]:
        members = [
            Member(make=make, recipe=Recipe.coerce(r) if r else Recipe(), lr=0.01, seed=3, rows=np.arange(24))
            for r in some
        ]
        population = Population(members, [(X, Y)], epochs=3, batch_size=8, device="cpu", bfloat16=False)
        population.train(3)
        return [torch.cat([p.detach().flatten() for p in population.model(k).parameters()]) for k in range(len(some))]

    for together, recipe in zip(trained(recipes), recipes, strict=True):
        torch.testing.assert_close(together, trained([recipe])[0], rtol=1e-4, atol=1e-5)
    first, second = trained(recipes[:2])
    assert float((first - second).abs().max()) > 1e-3


def test_rare_classes_keep_their_share_of_the_bias() -> None:
    """A network that knows nothing but shares: its minimum is (1 - s) of the data's shares and s of the prior."""
    y = torch.tensor([0] * 6 + [1] * 3 + [2])
    model = nn.Linear(1, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    session = dashpot.LabelSmoothing(0.5, prior=class_prior(y)).attach(model, optimizer)
    for _ in range(400):
        x, _ = session.batch(torch.zeros(10, 1), y)
        optimizer.zero_grad()
        session.loss(nn.CrossEntropyLoss(), model(x)).backward()
        optimizer.step()
    assert model(torch.zeros(1, 1)).softmax(1)[0].tolist() == pytest.approx([0.6, 0.3, 0.1], abs=1e-3)


def test_shares_that_do_not_fit_are_refused() -> None:
    model, session = attached(dashpot.LabelSmoothing(0.1, prior=(0.5, 0.5)))
    batch = session.batch(X, Y)
    with pytest.raises(UsageError, match="2 classes, and the network has 3"):
        session.loss(nn.CrossEntropyLoss(), model(batch.x))
    model, session = attached(dashpot.LabelSmoothing(0.1, prior=(0.5, 0.5)), outputs=1)
    batch = session.batch(X, (Y > 0).float())
    with pytest.raises(UsageError, match="yes/no labels"):
        session.loss(nn.BCEWithLogitsLoss(), model(batch.x))
    for prior in ((0.5, 0.6), (1.2, -0.2), (1.0,), "half", (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match=r"LabelSmoothing\.prior must be the shares"):
            dashpot.LabelSmoothing(0.1, prior=prior)


def test_text_is_read_back() -> None:
    recipe = Recipe.coerce("label-smoothing:smoothing=0.2,prior=0.6 0.3 0.1")
    assert next(iter(recipe)).prior == PRIOR
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_shares_are_counted_with_weights() -> None:
    assert class_prior(Y) == pytest.approx((1 / 3,) * 3)
    assert class_prior([0, 1, 1], classes=4, weight=[2, 1, 1]) == (0.5, 0.5, 0.0, 0.0)
    for y, options in (
        ([], {}),
        ([0.5], {}),
        ([-1], {}),
        ([[0]], {}),
        ([3], {"classes": 3}),
        ([0, 1], {"weight": [1]}),
        ([0, 1], {"weight": [0, 0]}),
        ([0, 1], {"weight": [1, -1]}),
    ):
        with pytest.raises(DataError, match="must be"):
            class_prior(y, **options)
