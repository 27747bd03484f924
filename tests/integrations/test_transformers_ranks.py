"""Transformers' Trainer under DistributedDataParallel: two ranks do what two ranks of the raw loop do; what cannot is
refused.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integrations.loops import (
    DRIVERS,
    HELD_X,
    RECIPES,
    Answering,
    Counting,
    Inside,
    Outcome,
    Stop,
)
from tests.integrations.ranks import (
    COUNT,
    PART,
    Refused,
    demand_refused,
    demand_trained,
    in_blocks,
    ranks,
    raw,
    said,
)

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore")]  # of the framework, about itself
TRAINED = {
    **{name: RECIPES[name] for name in ("l1-ema", "dropout-decay-stopping", "columns", "mixup-smoothing", "schedule")},
    "second-pass": "dropout:p=0.3,on=activations | r-drop:strength=1.0",
}
TOGETHER = {"gradient_accumulation_steps": 2}
APART = "l2sp:strength=0.1 | ema:decay=0.8"
"""Both keep a copy of the weights as they are at attach."""


def fit(recipe: Any, folder: Path, **options: Any) -> Outcome:
    share = {"per_device_train_batch_size": PART, "per_device_eval_batch_size": len(HELD_X) // COUNT}
    return DRIVERS["transformers"](recipe, folder, ddp_backend="gloo", **share, **options)


def told(outcome: Outcome) -> dict[str, Any]:
    return {"weights": outcome.weights, "saved": outcome.saved, "epochs": len(outcome.scores)}


def loop(recipe: Any, rank: int, **options: Any) -> dict[str, Any]:
    """The raw loop on the rows that Accelerate gives a rank."""
    half = len(HELD_X) // COUNT
    held = slice(rank * half, (rank + 1) * half)
    found = raw(recipe, rank, in_blocks(rank), held, **{"build": Inside} | options)
    for part in ("weights", "saved"):
        found[part] = {name.removeprefix("net."): value for name, value in found[part].items()}
    return found


class OwnStart(Answering):
    """Other initial weights on each rank, as without a seed."""

    def __init__(self) -> None:
        super().__init__()
        apart(self)


class OwnStartInside(Inside):
    def __init__(self) -> None:
        super().__init__()
        apart(self)


def apart(model: torch.nn.Module) -> None:
    torch.manual_seed(torch.distributed.get_rank())
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn(value.shape))


def work(rank: int, folder: Path) -> dict[str, Any]:
    """Each recipe in both loops, and the Trainer's resumed in the middle of an epoch."""
    found: dict[str, Any] = {}
    for name, text in TRAINED.items():
        found[name] = told(fit(text, folder / name)), loop(text, rank)
    for name in ("l1-ema", "mixup-smoothing"):
        pair = told(fit(TRAINED[name], folder / f"two-{name}", **TOGETHER)), loop(TRAINED[name], rank, each=2)
        found[f"two-{name}"] = pair
    found["apart"] = told(fit(APART, folder / "apart", build=OwnStart)), loop(APART, rank, build=OwnStartInside)
    # A loss that the model divides by the items of the step, on all ranks.
    found["counted"] = (
        told(fit(TRAINED["mixup-smoothing"], folder / "counted", build=Counting, **TOGETHER)),
        found["two-mixup-smoothing"][1],
    )
    with pytest.raises(Stop):
        fit(TRAINED["l1-ema"], folder / "cut", at=10)
    found["resumed"] = told(fit(TRAINED["l1-ema"], folder / "cut", resume=True))
    refused: Refused = [
        partial(fit, "l1" if rank else "l2", folder),
        partial(fit, "l1" if rank else None, folder),
        partial(fit, "sam", folder),
    ]
    found["refused"] = said(refused)
    return found


def test_two_ranks_do_what_two_ranks_of_the_raw_loop_do_and_refuse_what_they_cannot() -> None:
    found = ranks(work)
    demand_refused(
        found,
        ["all ranks must attach the same recipe"] * 2 + ["SAM needs a second gradient in each step, but transformers'"],
    )
    counted = [one.pop("counted") for one in found]
    demand_trained(found)
    for mine, expected in counted:  # one sum over all items against the mean of four means
        torch.testing.assert_close(mine["weights"], expected["weights"], rtol=1e-4, atol=1e-5)
