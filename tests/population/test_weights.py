"""Members with weights of rows: each is what ``dashpot.fit`` trains alone with them, by program, autograd and vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dashpot
from dashpot.population.members import Member, initial
from dashpot.population.population import Population
from tests.population.helpers import BATCH, EPOCHS, demand_equal, member, mlp, population, table
from tests.population.ways import WAYS

WEIGHT = torch.tensor(np.random.default_rng(0).integers(1, 5, 160)).float()
VALUES = table()[0], table()[0][:, 0] + table()[0][:, 1]


def line() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def alone(m: Member, data: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    x, y = data
    model = initial(m)
    assert m.watch is not None
    train, watch = ((x[rows], y[rows], WEIGHT[rows]) for rows in (m.rows, m.watch))
    options: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "progress": False, "device": "cpu"}
    dashpot.fit(model, train, valid=watch, recipe=m.recipe, lr=m.lr, seed=m.seed, **options)
    return dict(model.state_dict())


RECIPES: list[list[Any]] = [
    [],
    [dashpot.Mixup(alpha=0.4)],
    [dashpot.EarlyStopping(patience=1)],
    [dashpot.SAM(rho=0.05), dashpot.LabelSmoothing(smoothing=0.1)],
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("target", ["classes", "values"])
def test_as_alone(way: Callable[[pytest.MonkeyPatch], None], target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    way(monkeypatch)
    data, make = (table(), mlp) if target == "classes" else (VALUES, line)
    recipes = RECIPES if target == "classes" else RECIPES[:3]
    members = [member(make, recipe, lr=0.01, seed=seed) for seed, recipe in enumerate(recipes)]
    trained = population(members, [data], weight=WEIGHT)
    trained.train(EPOCHS)
    assert len(trained.notes) == WAYS[way]
    for number, m in enumerate(members):
        demand_equal(trained.tensors(number), alone(m, data), (way, str(m.recipe)))


def test_a_weight_of_2_is_two_rows() -> None:
    x, y = table()
    rows = np.arange(40)
    often = np.repeat(rows, WEIGHT[:40].int().numpy())
    options: dict[str, Any] = {"epochs": 3, "batch_size": 1000, "bfloat16": False, "device": "cpu"}
    first, second = (Member(make=mlp, recipe=dashpot.Recipe(), lr=0.01, seed=0, rows=r) for r in (rows, often))
    one, two = Population([first], [(x, y)], weight=WEIGHT, **options), Population([second], [(x, y)], **options)
    for trained in (one, two):
        trained.train(3)
    demand_equal(one.tensors(0), dict(two.tensors(0)))
