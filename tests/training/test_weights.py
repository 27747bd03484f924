"""Weights of rows in ``fit``: 0 is absent, 2 counts as two rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.core.recipe import Recipe

GENERATOR = torch.Generator().manual_seed(3)
X = torch.randn(24, 4, generator=GENERATOR)
VALUES = X[:, 0] - X[:, 1] + torch.randn(24, generator=GENERATOR)
CLASSES = (VALUES > 0).long()
COUNT = torch.randint(1, 4, (24,), generator=GENERATOR)
ABSENT = torch.arange(24) % 3 == 0


def net(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))


def fit(data: Any, make: Callable[[], nn.Module] = lambda: net(2), **options: Any) -> dashpot.FitResult:
    options = {"epochs": 4, "batch_size": 8, "lr": 0.02, "progress": False, **options}
    return dashpot.fit(make(), data, **options)


def numbers(result: dashpot.FitResult) -> tuple[list[Any], list[Tensor]]:
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    return rows, list(result.model.state_dict().values())


KINDS = [
    (y, k, r) for y, k in ((CLASSES, 2), (VALUES, 1)) for r in ("", "early-stopping:patience=1", "l1:relative=0.01")
]
KINDS += [(CLASSES, 2, "label-smoothing:smoothing=0.1")]


@pytest.mark.parametrize(("y", "outputs", "recipe"), [*KINDS, (CLASSES, 2, "mixup"), (VALUES, 1, "sam")])
def test_a_row_of_weight_0_is_absent(y: Tensor, outputs: int, recipe: str) -> None:
    kept = ~ABSENT
    weight = kept.float() * COUNT
    wild = torch.where(ABSENT[:, None], torch.full_like(X, 50.0), X)
    parts: dict[str, Any] = {"recipe": recipe or None, "make": lambda: nn.Sequential(nn.BatchNorm1d(4), net(outputs))}
    mine = fit((wild, y, weight), valid=(wild, y, weight), **parts)
    alone = (X[kept], y[kept], weight[kept])
    theirs = fit(alone, valid=alone, **parts)
    assert numbers(mine)[0] == numbers(theirs)[0]
    assert all(torch.equal(a, b) for a, b in zip(numbers(mine)[1], numbers(theirs)[1], strict=True))


@pytest.mark.parametrize(("y", "outputs", "recipe"), KINDS)
def test_a_row_of_weight_2_counts_as_two(y: Tensor, outputs: int, recipe: str) -> None:
    repeated = X.repeat_interleave(COUNT, 0), y.repeat_interleave(COUNT, 0)
    options: dict[str, Any] = {"batch_size": 1000, "make": lambda: net(outputs), "recipe": recipe or None}
    mine, theirs = fit((X, y, COUNT), valid=(X, y, COUNT), **options), fit(repeated, valid=repeated, **options)
    for one, other in zip(numbers(mine)[0], numbers(theirs)[0], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    for a, b in zip(numbers(mine)[1], numbers(theirs)[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_loader_leaves_absent_rows_out_of_batch_statistics_too() -> None:
    weight = (~ABSENT).float()
    wild = torch.where(ABSENT[:, None], torch.full_like(X, 50.0), X)
    seen: list[Tensor] = []

    class Sees(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    loader = DataLoader(TensorDataset(wild, CLASSES, weight), batch_size=6)
    fit(loader, make=lambda: nn.Sequential(Sees(), net(2)), epochs=1)
    assert seen
    assert all(float(x.max()) < 50 for x in seen)
    only = DataLoader(TensorDataset(X, CLASSES, torch.tensor([0.0] * 6 + [1.0] * 18)), batch_size=6)
    assert np.isfinite(fit(only, epochs=1).history[0]["train_loss"])  # its first batch has no row that counts


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(23), r"data\[2\]|one length"),
        (torch.full((24,), -1.0), r"data\[2\] must be finite numbers >= 0, got -1 in row 1"),
        (torch.tensor([float("nan")] + [1.0] * 23), "got nan in row 1"),
        (torch.zeros(24), "above 0 in some row"),
        (torch.ones(24, 1), "one number for each of the 24 rows"),
    ],
)
def test_weights_that_are_none_are_refused_before_work(weight: Tensor, message: str) -> None:
    with pytest.raises(dashpot.DataError, match=message):
        fit((X, CLASSES, weight))
    with pytest.raises(dashpot.DataError, match=message.replace("data", "valid")):
        fit((X, CLASSES), valid=(X, CLASSES, weight))


def test_relative_strengths_and_the_strongest_one_know_weights() -> None:
    weight = COUNT * (~ABSENT)
    repeated = X.repeat_interleave(weight, 0), VALUES.repeat_interleave(weight, 0)
    for model in (nn.Linear(4, 1), net(1)):
        mine = dashpot.max_strength(model, X, VALUES, dashpot.L1(), weight=weight)
        assert mine == pytest.approx(dashpot.max_strength(model, *repeated, dashpot.L1()), rel=1e-5)
        recipe = Recipe((dashpot.L1(relative=0.5),))
        found = dashpot.resolve_strengths(recipe, model, (X, VALUES, weight))
        assert getattr(found[0], "strength", None) == pytest.approx(mine / 2, rel=1e-6)
