"""A learning rate that falls on plateaus: against torch's, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

import dashpot
from dashpot import schedules


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("options", [{}, {"cooldown": 3}, {"min_delta": 0.3}, {"min_factor": 0.2}, {"patience": 0}])
def test_it_is_torchs(mode: str, options: dict[str, Any]) -> None:
    random = np.random.default_rng(len(options))
    walk = random.standard_normal(60).cumsum()
    options = {"patience": 2, "factor": 0.5, **options}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=options["factor"],
        patience=options["patience"],
        threshold=options.get("min_delta", 0.0),
        threshold_mode="abs",
        cooldown=options.get("cooldown", 0),
        min_lr=options.get("min_factor", 0.0),
        eps=0.0,
    )
    ours = schedules.reduce_on_plateau("score", mode=mode, **options)
    expected, found, history = [], [], []
    for score in walk:
        theirs.step(score)
        history.append({"score": float(score)})
        expected.append(optimizer.param_groups[0]["lr"])
        found.append(ours.after(history))
    assert len(set(expected)) > 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def rising(epochs: int, folder: Path | None = None, **options: Any) -> tuple[dashpot.FitResult, nn.Linear]:
    """A validation loss that only rises, so that the rate falls after each epoch but the first."""
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    model = nn.Linear(5, 1)
    y = 10 * x[:, :1]
    given = {"schedule": schedules.reduce_on_plateau(patience=0, factor=0.5), "lr": 1e-2, "checkpoint": folder}
    given |= options
    return dashpot.fit(model, (x, y), valid=(x, -y), epochs=epochs, progress=False, device="cpu", **given), model


def test_in_fit_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole, model = rising(6)
    rates = [row["lr"] for row in whole.history]
    np.testing.assert_allclose(rates, [1e-2 * 0.5 ** max(k - 1, 0) for k in range(6)], rtol=1e-12)

    class Ended(Exception):
        pass

    calls = []

    def interrupted(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 8:
            raise Ended
        return (out - y).square().mean(dim=1)

    def same(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (out - y).square().mean(dim=1)

    interrupted.__qualname__ = same.__qualname__ = "own"
    interrupted.__module__ = same.__module__ = "torch"
    with pytest.raises(Ended):
        rising(6, tmp_path, loss=interrupted)
    resumed, other = rising(6, tmp_path, loss=same, resume=True)
    assert [row["lr"] for row in resumed.history] == rates
    assert torch.equal(other.weight, model.weight)
    with pytest.raises(dashpot.ConfigError, match="schedule"):
        rising(6, tmp_path, loss=same, resume=True, schedule=schedules.reduce_on_plateau(patience=1))


def test_bad_input_is_refused() -> None:
    with pytest.raises(dashpot.ConfigError, match="never guessed"):
        schedules.reduce_on_plateau("val_accuracy")
    with pytest.raises(dashpot.ConfigError, match="factor must be"):
        schedules.reduce_on_plateau(factor=1.0)
    x = torch.randn(8, 2)
    for options, error in (
        ({"schedule": schedules.reduce_on_plateau()}, dashpot.ConflictError),
        ({"schedule": schedules.reduce_on_plateau("val_acc", mode="max"), "valid": (x, x)}, dashpot.UnknownNameError),
    ):
        with pytest.raises(error, match="val_"):
            dashpot.fit(nn.Linear(2, 2), (x, x), epochs=1, progress=False, **options)
