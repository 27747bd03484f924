"""Targets of all forms in a population: each member is the network that ``fit`` trains alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import dashpot
from dashpot.population.members import Member
from tests.population.helpers import alone, demand_equal, member, population

X = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
YES = (X[:, 0] > 0).long()
CODES = X[:, :3].argmax(1)


def net(outputs: int) -> Any:
    return lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs))


def own(out: Tensor, y: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(out, y.float().reshape(out.shape), reduction="none").mean(1)


FORMS: dict[str, tuple[int, Tensor, Any]] = {
    "yes or no": (1, YES, None),
    "yes or no, bool [B, 1]": (1, YES.bool()[:, None], None),
    "yes or no, own loss": (1, YES, own),
    "yes or no, torch's loss": (1, YES.float(), nn.BCEWithLogitsLoss(reduction="none")),
    "labels": (3, (X[:, :3] > 0).to(torch.uint8), None),
    "classes, int32": (3, CODES.int(), None),
    "classes, [B, 1]": (3, CODES[:, None], None),
    "values, [B] and [B, 1]": (1, X[:, 0], nn.MSELoss(reduction="none")),
}
RECIPES: dict[str, tuple[Any, ...]] = {
    "plain": (),
    "mixed": (dashpot.Mixup(alpha=0.4),),
    "smoothed": (dashpot.LabelSmoothing(smoothing=0.2),),
    "both": (dashpot.Mixup(alpha=0.4), dashpot.LabelSmoothing(smoothing=0.2)),
    "stopped": (dashpot.EarlyStopping(monitor="val_accuracy", mode="max", patience=1),),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("form", FORMS)
def test_as_alone(form: str, name: str) -> None:
    outputs, y, loss = FORMS[form]
    techniques = RECIPES[name]
    if form.startswith("values"):
        techniques = tuple(t for t in techniques if isinstance(t, dashpot.Mixup))
    members = [member(net(outputs), techniques, seed=seed) for seed in (0, 1)]
    together = population(members, [(X, y)], loss=loss)
    together.train(4)
    for number, m in enumerate(members):
        weights, result = alone(m, [(X, y)], loss=loss)
        demand_equal(together.tensors(number), weights, f"member {number}", of=m, sets=[(X, y)], loss=loss)
        if name == "stopped" and not form.startswith("values"):
            assert together.best_epochs[number] == result.best_epoch


def test_mixup_does_not_invert_yes_and_no() -> None:
    """The number of classes was once the width of the output: one column, which said where the class is 0."""
    members = [member(net(1), (dashpot.Mixup(alpha=0.2),), lr=0.05)]
    together = population(members, [(X, YES)], loss=own, epochs=15)
    together.train(15)
    out = together.outputs({0: np.arange(160)})[0][:, 0]
    assert float(((out > 0) == YES.bool()).double().mean()) > 0.9


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (CODES + 1, {}, dashpot.DataError, "the target must be classes 0 to 2.* got 1 to 3"),
        (2 * YES - 1, {"outputs": 1}, dashpot.DataError, "must be labels 0 and 1.* got -1 to 1"),
        (X[:, 0], {"outputs": 1, "loss": lambda o, t: (o - t).square()}, dashpot.UsageError, "every output with every"),
        (CODES, {"loss": nn.CrossEntropyLoss()}, dashpot.ConfigError, "loss of each sample.*reduction='none'"),
        (
            torch.where(CODES > 0, CODES, -100),
            {"loss": nn.CrossEntropyLoss(reduction="none")},
            dashpot.DataError,
            "a class in each row of a population, got -100",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(y: Tensor, options: Any, error: Any, message: str) -> None:
    options = dict(options)
    with pytest.raises(error, match=message):
        population([member(net(options.pop("outputs", 3)))], [(X, y)], **options)


def test_a_recipe_may_be_text() -> None:
    text: Any = "l1:strength=0.01 | dropout:p=0.1"
    m = Member(make=net(3), recipe=text, lr=1e-2, seed=0, rows=np.arange(120))
    assert m.recipe == dashpot.L1(strength=0.01) | dashpot.Dropout(p=0.1)
