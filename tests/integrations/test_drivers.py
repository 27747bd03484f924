"""Each framework's loop equals the raw loop: weights, evaluations, what is saved, and what is resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dashpot
from tests.integrations.loops import (
    DRIVERS,
    HELD_X,
    HELD_Y,
    RECIPES,
    REFUSED,
    Counting,
    Outcome,
    Stop,
    make,
    raw,
    reference,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks, about themselves

FAST = {("lightning", "l1-ema"), ("transformers", "l1-ema"), ("accelerate", "l1-ema"), ("skorch", "l1-ema")}
FAST |= {("lightning", "dropout-decay-stopping"), ("skorch", "sam"), ("transformers", "mixup-smoothing")}
CASES = [
    pytest.param(driver, recipe, marks=[] if (driver, recipe) in FAST else pytest.mark.slow)
    for driver in DRIVERS
    for recipe in RECIPES
]
CUT = 10
"""The step before which the power is cut: in the middle of the third epoch."""


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def zeros(weights: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((value == 0).sum()) for name, value in weights.items()}


@pytest.mark.parametrize(("driver", "recipe"), CASES)
def test_a_driver_equals_the_raw_loop(driver: str, recipe: str, tmp_path: Path) -> None:
    text = RECIPES[recipe]
    if (driver, recipe) in REFUSED:
        with pytest.raises(dashpot.ConflictError, match=REFUSED[driver, recipe]):
            DRIVERS[driver](text, tmp_path)
        return
    expected, found = reference(driver, text), DRIVERS[driver](text, tmp_path / "whole")
    compare(found, expected)
    # A plain model, without any of ours, gives the evaluated outputs.
    plain = make()
    plain.load_state_dict(found.saved)
    loss = torch.nn.functional.cross_entropy(plain(HELD_X), HELD_Y)
    torch.testing.assert_close(loss.item(), expected.scores[-1])

    at = 5 if len(expected.scores) < 3 else CUT  # early stopping may end before
    with pytest.raises(Stop):
        DRIVERS[driver](text, tmp_path / "cut", at=at)
    resumed = DRIVERS[driver](text, tmp_path / "cut", resume=True)
    assert same(resumed.weights, found.weights)
    assert same(resumed.saved, found.saved)


def compare(found: Outcome, expected: Outcome) -> None:
    torch.testing.assert_close(found.scores, expected.scores)
    # The same operations in the same order, in one process: bit for bit, exact zeros among them.
    assert same(found.weights, expected.weights)
    assert same(found.saved, expected.saved)


def test_the_recipes_do_what_they_are_there_for() -> None:
    outcomes: dict[str, Any] = {name: raw(text) for name, text in RECIPES.items()}
    plain = raw(None)
    assert all(not same(plain.weights, one.weights) for one in outcomes.values())
    assert zeros(outcomes["columns"].weights)["0.weight"] % 8 == 0 < zeros(outcomes["columns"].weights)["0.weight"]
    assert zeros(outcomes["l1-ema"].weights)["0.weight"] > 0
    assert len(outcomes["dropout-decay-stopping"].scores) > 1


ACCUMULATED = ["l1-ema", "dropout-decay-stopping", "mixup-smoothing", "schedule"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ACCUMULATED)
def test_micro_batches_draw_apart_and_count_as_one_step(recipe: str, tmp_path: Path) -> None:
    text = RECIPES[recipe]
    expected = reference("lightning", text, each=2)
    compare(DRIVERS["lightning"](text, tmp_path / "whole", accumulate_grad_batches=2), expected)
    with pytest.raises(Stop):
        DRIVERS["lightning"](text, tmp_path / "cut", accumulate_grad_batches=2, at=3)
    resumed = DRIVERS["lightning"](text, tmp_path / "cut", accumulate_grad_batches=2, resume=True)
    assert same(resumed.weights, expected.weights)
    found = DRIVERS["transformers"](text, tmp_path / "hf", gradient_accumulation_steps=2)
    compare(found, reference("transformers", text, each=2))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ACCUMULATED)
def test_the_items_of_a_step_divide_the_loss_once(recipe: str, tmp_path: Path) -> None:
    """A mean of each micro-batch, divided again, would make penalties stronger beside the loss."""
    text = RECIPES[recipe]
    found = DRIVERS["transformers"](text, tmp_path, gradient_accumulation_steps=2, build=Counting)
    expected = reference("transformers", text, each=2)
    for name, value in expected.weights.items():  # one sum over 16 against the mean of two means
        torch.testing.assert_close(found.weights[name], value, rtol=1e-4, atol=1e-5)


def test_a_second_pass_of_the_trainer_s_model_is_that_of_the_raw_loop(tmp_path: Path) -> None:
    recipe = "dropout:p=0.3,on=activations | r-drop:strength=1.0"
    compare(DRIVERS["transformers"](recipe, tmp_path), reference("transformers", recipe))


KILLED = """
import os, signal, sys, warnings
from pathlib import Path
from tests.integrations import loops
warnings.simplefilter("ignore")
loops.cut = lambda step: lambda now: os.kill(os.getpid(), signal.SIGKILL) if now >= step else None
loops.DRIVERS[sys.argv[1]](loops.RECIPES["l1-ema"], Path(sys.argv[2]), at=int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_killed_process_is_resumed_by_another(driver: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, driver, str(tmp_path), str(CUT)]
    root = Path(__file__).parents[2]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(command, cwd=root, env=where, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    found = DRIVERS[driver](RECIPES["l1-ema"], tmp_path, resume=True)
    assert same(found.weights, reference(driver, RECIPES["l1-ema"]).weights)
    assert same(found.saved, reference(driver, RECIPES["l1-ema"]).saved)
