"""skorch around DistributedDataParallel: two ranks do what two ranks of the raw loop do."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from skorch.callbacks import Checkpoint, LoadInitState
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dashpot.integrations.skorch import DashpotNeuralNetClassifier
from tests.integrations.loops import EPOCHS, HELD_X, HELD_Y, RATE, RECIPES, STEPS, X, Y, make
from tests.integrations.ranks import PART, Refused, demand_refused, demand_trained, every_second, ranks, raw, said

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore")]  # of the framework, about itself


def wrapped() -> nn.Module:
    return DistributedDataParallel(make())


def plain(state: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("module."): value.clone() for name, value in state.items()}


def fit(recipe: Any, rank: int, folder: Path, *, epochs: int = EPOCHS, resume: bool = False) -> dict[str, Any]:
    """Each rank has every second row, and a folder of its own."""
    keep = Checkpoint(monitor=None, dirname=str(folder / f"rank-{rank}"), f_session="session.pt")
    net = DashpotNeuralNetClassifier(
        wrapped,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=RATE,
        optimizer__momentum=0.9,
        batch_size=PART,
        max_epochs=epochs,
        verbose=0,
        iterator_train__shuffle=False,
        train_split=predefined_split(Dataset(HELD_X.numpy(), HELD_Y.numpy())),
        callbacks=[keep, *([LoadInitState(keep)] if resume else [])],
        recipe=recipe,
        recipe_options={"classes": 3, "steps": STEPS * EPOCHS, "steps_per_epoch": STEPS},
    )
    rows = every_second(rank)
    net.fit(X[rows].numpy(), Y[rows].numpy())
    saved = torch.load(folder / f"rank-{rank}" / "params.pt", weights_only=True)
    return {"weights": plain(net.module_.state_dict()), "saved": plain(saved), "epochs": len(net.history)}


def work(rank: int, folder: Path) -> dict[str, Any]:
    """Each recipe in both loops, and skorch's resumed after two epochs."""
    found: dict[str, Any] = {}
    for name, text in RECIPES.items():
        expected = raw(text, rank, every_second(rank), slice(None))
        found[name] = fit(text, rank, folder / name), expected
    fit(RECIPES["l1-ema"], rank, folder / "cut", epochs=2)
    found["resumed"] = fit(RECIPES["l1-ema"], rank, folder / "cut", epochs=2, resume=True)
    refused: Refused = [partial(fit, "l1" if rank else "l2", rank, folder / "refused")]
    found["refused"] = said(refused)
    return found


def test_two_ranks_do_what_two_ranks_of_the_raw_loop_do() -> None:
    found = ranks(work)
    demand_refused(found, ["all ranks must attach the same recipe"])
    demand_trained(found)
