"""Accelerate over two ranks: they do what two ranks of the raw loop do; what cannot is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import DataLoaderConfiguration

import dashpot
from tests.integrations.loops import DRIVERS, RECIPES, Outcome, Stop, make, weights_of
from tests.integrations.ranks import demand_equal, in_blocks, ranks, raw, same

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


def trained(rank: int, folder: Path) -> dict[str, Any]:
    """Each recipe in both loops, and Accelerate's resumed after a stop in the middle of an epoch."""
    found: dict[str, Any] = {}
    for name, text in RECIPES.items():
        found[name] = told(fit(text, folder / name)), raw(text, rank, in_blocks(rank), EVERY_ROW)
    with pytest.raises(Stop):
        fit(RECIPES["l1-ema"], folder / "cut", at=10)
    found["resumed"] = told(fit(RECIPES["l1-ema"], folder / "cut", resume=True))
    return found


def refused(rank: int, folder: Path) -> list[str]:
    """What is said of each thing that cannot be."""
    cases: list[Callable[[], Any]] = [
        lambda: fit("l1" if rank else "l2", folder),
        lambda: fit("sam", folder, gradient_accumulation_steps=2),
    ]
    said = []
    for case in cases:
        with pytest.raises(dashpot.DashpotError) as error:
            case()
        said.append(str(error.value))
    return said


def test_two_ranks_do_what_two_ranks_of_the_raw_loop_do() -> None:
    first, second = ranks(trained)
    resumed = [one.pop("resumed") for one in (first, second)]
    for name in RECIPES:
        for found, expected in (first[name], second[name]):
            demand_equal(found, expected, name)
        assert same(first[name][0]["weights"], second[name][0]["weights"]), name
        assert not same(first[name][0]["weights"], weights_of(make())), name
    for one in resumed:
        assert same(one["weights"], first["l1-ema"][0]["weights"])
        assert same(one["saved"], first["l1-ema"][0]["saved"])


def test_what_ranks_of_accelerate_cannot_do_is_refused_on_all() -> None:
    expected = ["all ranks must attach the same recipe", "with gradient_accumulation_steps=2 the closure of a step"]
    for said in ranks(refused):
        assert [words in text for words, text in zip(expected, said, strict=True)] == [True] * len(expected), said
