"""Data of any form for a path: frames, whole numbers of any type, columns of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn

import dashpot

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
YES = (X[:, 0] > 0).long()


def path(x: Any, y: Any, make: Callable[[], nn.Module] = lambda: nn.Linear(4, 2)) -> Any:
    return dashpot.path(make, (x, y), dashpot.L1(), points=3, cv=2, epochs=1, device="cpu")


FORMS: dict[str, tuple[Any, Any]] = {
    "frame": (pd.DataFrame(X.numpy(), index=np.arange(60) + 5), pd.Series(YES.numpy(), index=np.arange(60) + 5)),
    "polars": (pl.DataFrame(X.numpy()), pl.Series(YES.numpy())),
    "bool": (X, YES.bool()),
    "int32": (X, YES.int().numpy()),
    "uint8 [n, 1]": (X, YES.to(torch.uint8)[:, None]),
    "objects": (X.numpy().astype(object), YES.numpy().astype(object)),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_means_the_same_gives_the_same_path(form: str) -> None:
    plain, found = path(X, YES), path(*FORMS[form])
    np.testing.assert_allclose(found.strengths, plain.strengths)
    np.testing.assert_allclose(found.coefficients, plain.coefficients, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.fold_losses, plain.fold_losses, rtol=1e-5)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("outputs", "y", "message"),
    [
        (1, YES, "classes need one output for each, got a network with 1 output"),
        (2, YES + 1, r"whole numbers from 0 to 1 for 2 outputs, got \[60\], 1 to 2"),
        (2, 2 * YES - 1, "-1 to 1"),
        (3, X[:, 0], "values must be 3 per row"),
    ],
)
def test_targets_that_do_not_fit_are_refused(outputs: int, y: Any, message: str, deep: bool) -> None:
    def make() -> nn.Module:
        head = nn.Linear(4, outputs)
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), head) if deep else head

    with pytest.raises(dashpot.DataError, match=message):
        path(X, y, make)


@pytest.mark.parametrize("y", [YES.bool(), YES.int(), YES[:, None]], ids=["bool", "int32", "[n, 1]"])
def test_the_largest_strength_is_that_of_plain_classes(y: Any) -> None:
    assert dashpot.max_strength(nn.Linear(4, 2), X, y, dashpot.L1()) == pytest.approx(
        dashpot.max_strength(nn.Linear(4, 2), X, YES, dashpot.L1())
    )
