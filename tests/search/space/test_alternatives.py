"""Techniques of which a candidate may have one: never two of them, wherever candidates come from."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import pytest
import torch

import dashpot
from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range
from dashpot.search.outcome.ablation import arms
from dashpot.search.racing.pruning import perturbed
from dashpot.search.space.defaults import default_techniques
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Candidate, Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import searching, table, tuned

LR = Numeric(1e-4, 1e-2, log=True)


def space_of(*texts: str) -> Space:
    return Space(technique_spaces(texts), lr=LR)


def sampled(space: Space, count: int = 60) -> list[Candidate]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [space.sample(study.ask()) for _ in range(count)]


def attaches(candidate: Candidate) -> bool:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    try:
        candidate.recipe.attach(model, optimizer, classes=2, closure=True).close()
    except dashpot.ConflictError:
        return False
    return True


@pytest.mark.parametrize(
    "texts", [("l1", "group-lasso", "mixup"), ("max-norm", "hard-threshold"), ("ema:decay=0.9..0.95", "ema", "sam")]
)
def test_no_candidate_holds_two(texts: tuple[str, ...]) -> None:
    """By the conflicts that attaching finds, for the whole space, samples and what is derived from them."""
    space = space_of(*texts)
    found = [space.default(), *sampled(space)]
    assert len({tuple(t.name for t in c.recipe) for c in found}) > 2, "each alternative has its turn"
    assert {name for c in found for name in c.recipe.paths()} >= {t.split(":")[0] for t in texts}
    derived = [perturbed(space, c, np.random.default_rng(i)) for i, c in enumerate(found)]
    derived += [arm for c in found[:10] for arm in arms(space, c).values()]
    assert all(attaches(c) for c in (*found, *derived) if c is not None)


def test_what_acts_elsewhere_is_no_alternative() -> None:
    both = space_of("l1:on=weights", "group-lasso:on=name:head.*")
    assert both.default().size == 2
    assert space_of("l1", "group-lasso").default().size == 1


def test_the_default_space_has_no_alternatives() -> None:
    space = space_of(*map(str, default_techniques("table", "classification")))
    assert not any(space.alternatives.values())
    assert space.default().size == len(space.techniques)


def test_starting_points_hold_one(tmp_path: Path) -> None:
    search = searching(table(), tmp_path, recipe=["weight-decay", "dropout", "dropout:p=0.3", "l1", "group-lasso"])
    for candidate in search.first_candidates():
        on = [name for name, value in candidate.params.items() if value is True]
        pairs = [set(pair) for pair in combinations(on, 2)]
        assert {"l1", "group-lasso"} not in pairs
        assert {"dropout", "dropout.2"} not in pairs


def test_an_alternative_that_is_switched_off_keeps_no_fields() -> None:
    space = space_of("l1", "group-lasso")
    settled = space.settled({"l1": True, "l1.strength": 1e-3, "group-lasso": True, "group-lasso.strength": 1e-2})
    assert settled == {"l1": True, "l1.strength": 1e-3, "group-lasso": False}


@pytest.mark.parametrize("text", ["l1:relative=0.05", "l1:relative=0.01..0.2"])
def test_a_relative_strength_takes_the_strengths_place(text: str) -> None:
    space = space_of(text)
    assert "l1.strength" not in space.distributions()
    for candidate in (space.default(), *sampled(space, 10)):
        assert all(t.relative is not None and t.strength is None for t in candidate.recipe)


class Capricious(dashpot.Technique):
    """Does nothing, or fails."""

    summary = "fails above a half"
    level: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = 0.2

    def on_gradient(self, params: Any, ctx: Any) -> None:
        if self.level > 0.5:
            raise RuntimeError(f"level {self.level} is too high")


QUICK: dict[str, Any] = {"epochs": 3, "cv": 2, "explain": False, "progress": False, "device": "cpu"}


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(120, 3)).astype("float32")
    return x, np.where(x[:, 0] > 0, "yes", "no")


@pytest.mark.parametrize("recipe", [["l1", "group-lasso"], ["max-norm", "hard-threshold"], ["l1:relative=0.05"]])
def test_a_search_over_alternatives_trains_every_candidate(recipe: list[str]) -> None:
    record = tuned(data(), recipe=recipe, trials=6, **QUICK).record
    assert not [c["reason"] for c in record["candidates"] if c["state"] == "failed"]
    assert record["chosen"] is not None


def test_a_candidate_that_raises_fails_with_its_reason_and_the_search_goes_on() -> None:
    result = tuned(data(), recipe=[Capricious(level=0.2), "mixup"], trials=12, seed=1, **QUICK)
    rows = result.record["candidates"]
    high = [c for c in rows if c["params"].get("capricious.level", 0.0) > 0.5]
    assert high
    assert all(c["state"] == "failed" for c in high)
    assert all("RuntimeError: level" in c["reason"] and "too high" in c["reason"] for c in high)
    others = [c for c in rows if c not in high]
    assert len(others) > 2
    assert all(c["state"] in ("complete", "pruned") and c["reason"] == "" for c in others)


def test_early_stopping_may_not_watch_training_rows_in_a_race() -> None:
    with pytest.raises(ConfigError, match="early-stopping.monitor.*val_"):
        tuned(data(), recipe=["early-stopping:monitor=train_loss,mode=min"], trials=4, **QUICK)
