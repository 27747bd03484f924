"""What ``fit`` promises at the end: the best weights where a loss diverges, resumed or wrapped; loaders that resume; a
random state that is the caller's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dashpot
from dashpot.core.technique import Technique

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.arange(6.0) + 1)[:, None]
pytestmark = pytest.mark.filterwarnings("ignore::dashpot.training.loop.DivergenceWarning")


class StopHereError(Exception):
    pass


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 1)


def squares(out: Tensor, target: Tensor) -> Tensor:
    """Squared error; NaN in training once it is large."""
    found = (out - target).square().mean(1)
    return found * float("nan") if torch.is_grad_enabled() and found.detach().mean() > 500 else found


def down_then_up(stop: float) -> Callable[[float], float]:
    def factor(progress: float) -> float:
        if progress >= stop:
            raise StopHereError
        return 1.0 if progress < 0.2 else -1.0

    return factor


def test_a_resumed_run_that_diverges_keeps_the_weights_that_the_whole_run_keeps(tmp_path: Path) -> None:
    options: dict[str, Any] = {"valid": (X, Y), "epochs": 10, "batch_size": 16, "progress": False, "loss": squares}
    options["optimizer"] = lambda parameters: torch.optim.SGD(parameters, lr=0.03)
    whole = line()
    assert dashpot.fit(whole, (X, Y), schedule=down_then_up(9), **options).diverged
    with pytest.raises(StopHereError):
        dashpot.fit(line(), (X, Y), schedule=down_then_up(0.35), checkpoint=tmp_path, **options)
    resumed = line()
    assert dashpot.fit(resumed, (X, Y), schedule=down_then_up(9), checkpoint=tmp_path, resume=True, **options).diverged
    assert torch.equal(whole.weight, resumed.weight)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_best_weights_are_kept_whatever_wraps_the_model_and_stops_it(wrapped: bool) -> None:
    calls = [0]

    def later_nan(out: Tensor, target: Tensor) -> Tensor:
        calls[0] += torch.is_grad_enabled()
        found = (out - target).square().mean(1)
        return found * float("nan") if torch.is_grad_enabled() and calls[0] > 30 else found

    model = line()
    recipe = dashpot.SAM() if wrapped else dashpot.SAM() | dashpot.EarlyStopping(restore=False)
    options: dict[str, Any] = {
        "valid": (X, Y),
        "loss": later_nan,
        "recipe": recipe,
        "epochs": 20,
        "batch_size": 16,
        "progress": False,
    }
    with mock.patch("torch._dynamo.config.disable", True):
        network: Any = torch.compile(model) if wrapped else model
        assert dashpot.fit(network, (X, Y), **options).diverged
    if wrapped:
        torch._dynamo.reset()  # what was skipped while it was off would stay skipped for later tests
    assert model.weight.isfinite().all()


def test_weights_that_overflow_in_the_last_step_are_noticed(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "schedule": "constant",
        "epochs": 1,
        "batch_size": 64,
        "progress": False,
        "checkpoint": tmp_path,
    }
    options["optimizer"] = lambda parameters: torch.optim.SGD(parameters, lr=1e30)
    for resume in (False, True):
        model = line()
        result = dashpot.fit(model, (X, Y * 1e17), valid=(X, Y * 1e17), resume=resume, **options)
        assert result.diverged
        assert result.stopped == "the loss diverged"
        assert model.weight.isfinite().all()


def test_a_technique_of_ones_own_may_give_final_weights_and_know_no_best_epoch() -> None:
    class Last(Technique):
        def final(self, ctx: Any) -> dict[str, Tensor]:
            return {}

    assert dashpot.fit(line(), (X, Y), recipe=Last(), epochs=1, progress=False).best_epoch is None


def test_a_loss_that_is_nan_at_once_has_one_warning_only() -> None:
    model = line()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert dashpot.fit(model, (X, Y * math.nan), loss=squares, recipe="l1", epochs=2, progress=False).diverged
    assert [w.category.__name__ for w in caught] == ["DivergenceWarning"]


def test_a_loader_with_a_generator_of_its_own_resumes_bit_for_bit(tmp_path: Path) -> None:
    def loader() -> DataLoader[Any]:
        return DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(7))

    def stopping(progress: float) -> float:
        if progress > 0.45:
            raise StopHereError
        return 1.0

    options: dict[str, Any] = {"epochs": 6, "progress": False}
    whole, resumed = line(), line()
    dashpot.fit(whole, loader(), schedule="constant", **options)
    with pytest.raises(StopHereError):
        dashpot.fit(line(), loader(), schedule=stopping, checkpoint=tmp_path, **options)
    dashpot.fit(resumed, loader(), schedule="constant", checkpoint=tmp_path, resume=True, **options)
    assert torch.equal(whole.weight, resumed.weight)


def test_a_shuffling_loader_leaves_the_callers_random_state_alone() -> None:
    model = line()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True)
    dashpot.fit(model, loader, recipe=dashpot.L1(relative=0.1), epochs=1, progress=False)
    assert torch.equal(torch.rand(2), expected)
