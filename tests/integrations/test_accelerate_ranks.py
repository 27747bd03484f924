"""Accelerate over two ranks: they do what two ranks of the raw loop do; what cannot is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from accelerate import DataLoaderConfiguration

from tests.integrations.loops import DRIVERS, RECIPES, Outcome, Stop
from tests.integrations.ranks import Refused, demand_refused, demand_trained, in_blocks, ranks, raw, said

pytestmark = [pytest.mark.distributed, pytest.mark.filterwarnings("ignore")]  # of the framework, about itself
EVERY_ROW = slice(None)


def fit(recipe: Any, folder: Path, **options: Any) -> Outcome:
    """Batches are those of both ranks together."""
    return DRIVERS["accelerate"](
        recipe, folder, dataloader_config=DataLoaderConfiguration(split_batches=True), **options
    )


def told(outcome: Outcome) -> dict[str, Any]:
    weights = {name.removeprefix("module."): value for name, value in outcome.weights.items()}
    return {"weights": weights, "saved": outcome.saved, "epochs": len(outcome.scores)}


def work(rank: int, folder: Path) -> dict[str, Any]:
    """Each recipe in both loops, and Accelerate's resumed after a stop in the middle of an epoch."""
    found: dict[str, Any] = {}
    for name, text in RECIPES.items():
        found[name] = told(fit(text, folder / name)), raw(text, rank, in_blocks(rank), EVERY_ROW)
    with pytest.raises(Stop):
        fit(RECIPES["l1-ema"], folder / "cut", at=10)
    found["resumed"] = told(fit(RECIPES["l1-ema"], folder / "cut", resume=True))
    refused: Refused = [
        partial(fit, "l1" if rank else "l2", folder),
        partial(fit, "sam", folder, gradient_accumulation_steps=2),
    ]
    found["refused"] = said(refused)
    return found


def test_two_ranks_do_what_two_ranks_of_the_raw_loop_do_and_refuse_what_they_cannot() -> None:
    found = ranks(work)
    demand_refused(
        found, ["all ranks must attach the same recipe", "with gradient_accumulation_steps=2 the closure of a step"]
    )
    demand_trained(found)
