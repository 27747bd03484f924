"""Schedules in a search: fixed and searched, on the command line's text, in races, finals, refits and saved recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dashpot
from dashpot.core.errors import ConfigError
from dashpot.core.fields.codec import loads
from dashpot.core.fields.schedule import Schedule
from dashpot.search.racing import checkpoints
from dashpot.search.racing.pruning import perturbed
from dashpot.search.space.distributions import Numeric
from dashpot.search.space.space import Space
from dashpot.search.space.technique import technique_spaces
from tests.search.helpers import race, small_task, tuned

TEXTS = ["dropout:p=0.1..0.5to0", "sam:rho=0.05@from=90%", "l1:strength=0to1e-4@until=50%"]
QUICK: dict[str, Any] = {"epochs": 4, "cv": 2, "progress": False, "device": "cpu", "seed": 3}


def space() -> Space:
    return Space(technique_spaces(TEXTS), lr=Numeric(1e-4, 1e-2, log=True))


def data() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(120, 3)).astype("float32")
    return x, np.where(x[:, 0] > 0, "yes", "no")


def test_a_range_is_one_end_of_a_schedule_and_a_fixed_one_is_not_searched() -> None:
    found = space()
    assert list(found.distributions()) == ["dropout", "dropout.p", "sam", "l1", "lr"]
    assert found.describe()["dropout.p"] == "0.1..0.5to0"
    whole = found.candidate({"dropout": True, "dropout.p": 0.3, "sam": True, "l1": True, "lr": 1e-3})
    assert [str(t) for t in whole.recipe] == [
        "Dropout(p='0.3to0')",
        "SAM(rho='0.05@from=90%')",
        "L1(strength='0to0.0001@until=50%')",
    ]


def test_perturbing_moves_the_searched_end() -> None:
    whole = space().default()
    near = perturbed(space(), whole, np.random.default_rng(0))
    assert near is not None
    (before, after) = (next(t for t in c.recipe if t.name == "dropout") for c in (whole, near))
    assert isinstance(before.p, Schedule)  # type: ignore[attr-defined]  # it is Dropout
    assert after.p.start != before.p.start  # type: ignore[attr-defined]  # it is Dropout
    assert after.p.end == before.p.end == 0.0  # type: ignore[attr-defined]  # it is Dropout


def test_a_race_is_that_of_the_numbers_at_each_step(tmp_path: Path) -> None:
    """A window that is the whole run is the constant; one after the run is nothing; and files give them back."""
    task = small_task()
    texts = ["l1:strength=0.02@from=0%", "l1:strength=0.02@from=100%", "l1:strength=0.02"]
    spaces = [Space(technique_spaces([text]), lr=Numeric(1e-4, 1.0, log=True), lr_default=1e-2) for text in texts]
    always, never, constant = race(task, [s.default() for s in spaces], rungs=())
    (nothing,) = race(task, [spaces[0].baseline()], rungs=())
    assert always.scores == pytest.approx(constant.scores, rel=1e-4)
    assert never.scores == pytest.approx(nothing.scores, rel=1e-4)
    assert always.scores != pytest.approx(nothing.scores, rel=1e-3)
    checkpoints.save(tmp_path, always)
    again = checkpoints.load(tmp_path, 0, always.candidate)
    assert again is not None
    assert again.candidate.recipe == always.candidate.recipe
    assert again.scores == always.scores


@pytest.mark.parametrize("ensemble", ["finalists", "refit"])
def test_a_search_trains_explains_records_and_saves_them(ensemble: str, tmp_path: Path) -> None:
    result = tuned(data(), recipe=TEXTS, trials=10, ensemble=ensemble, out=tmp_path / "run", **QUICK)
    rows = result.record["candidates"]
    assert not [row["reason"] for row in rows if row["state"] == "failed"]
    recipes = " ".join(row["recipe"] for row in rows)
    assert all(text in recipes for text in ("SAM(rho='0.05@from=90%')", "L1(strength='0to0.0001@until=50%')", "to0')"))
    assert result.record["space"]["sam!"] == "SAM(rho='0.05@from=90%')"
    assert loads((tmp_path / "run" / "recipe.toml").read_text()) == result.recipe
    assert str(result.recipe) in result.summary(width=400) or not result.recipe


def test_a_schedule_that_cannot_be_read_is_refused_before_work() -> None:
    with pytest.raises(ConfigError, match="sam|rho|schedule"):
        tuned(data(), recipe=["sam:rho=0.05@form=90%"], trials=4, **QUICK)
    with pytest.raises(dashpot.DashpotError, match="schedule"):
        tuned(data(), recipe=["dropout:p=0.1..0.2to0.3..0.4"], trials=4, **QUICK)
