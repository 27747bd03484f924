"""Importance of distributions over a search."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dashpot.search.outcome.importance import FEWEST, importance
from dashpot.search.racing.trial import Trial
from dashpot.search.space.space import Space
from tests.search.helpers import small_space


def searched(space: Space, n: int, score: Any, seed: int = 0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        params: dict[str, Any] = {"l1": bool(rng.integers(2)), "dropout": bool(rng.integers(2))}
        if params["l1"]:
            params["l1.strength"] = 10 ** rng.uniform(-5, -2)
        if params["dropout"]:
            params["dropout.p"] = rng.uniform(0.1, 0.5)
        params |= {"lr": 10 ** rng.uniform(-4, 0), "net.width": int(rng.choice([8, 12]))}
        found.append(Trial(i, space.candidate(params), "complete", scores=[score(params, rng)] * 3))
    return found


SPACE = small_space("l1:strength=1e-5..1e-2", "dropout:p=0.1..0.5")


def test_what_matters_comes_first() -> None:
    shares = importance(
        searched(SPACE, 150, lambda p, rng: (math.log10(p["lr"]) + 2) ** 2 + 0.01 * rng.normal()), SPACE
    )
    assert next(iter(shares)) == "lr"
    assert shares["lr"] > 0.9
    assert 0.9 < sum(shares.values()) <= 1
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert set(shares) <= set(SPACE.distributions())


def test_switches_and_conditional_fields() -> None:
    on = importance(searched(SPACE, 150, lambda p, rng: float(p["dropout"]) + 0.01 * rng.normal()), SPACE)
    assert on["dropout"] + on["dropout.p"] > 0.9, "the switch, or its field, which stands in the middle where it is off"
    strength = importance(
        searched(SPACE, 200, lambda p, rng: math.log10(p.get("l1.strength", 10**-3.5)) + 0.01 * rng.normal()), SPACE
    )
    assert next(iter(strength)) == "l1.strength"


def test_too_few_or_all_equal_say_nothing() -> None:
    assert importance(searched(SPACE, FEWEST - 1, lambda p, rng: rng.normal()), SPACE) == {}
    assert importance(searched(SPACE, 40, lambda p, rng: 1.0), SPACE) == {}
    failed = searched(SPACE, 40, lambda p, rng: math.inf)
    assert importance(failed, SPACE) == {}


def test_the_worst_do_not_decide() -> None:
    """One in twenty diverged, by chance; that is no importance of anything."""

    def score(p: Any, rng: np.random.Generator) -> float:
        return 1e9 if rng.random() < 0.05 else (math.log10(p["lr"]) + 2) ** 2

    assert next(iter(importance(searched(SPACE, 150, score), SPACE))) == "lr"


@pytest.mark.parametrize("n", [FEWEST, 30, 120])
def test_noise_has_no_cause(n: int) -> None:
    sums = [sum(importance(searched(SPACE, n, lambda p, rng: rng.normal(), seed), SPACE).values()) for seed in range(8)]
    assert np.median(sums) == 0
    assert max(sums) < 0.2


def test_what_is_not_explained_has_no_share() -> None:
    """Half of the variance is noise."""
    shares = importance(
        searched(SPACE, 300, lambda p, rng: math.log10(p["lr"]) / np.sqrt(16 / 12) + rng.normal()), SPACE
    )
    assert next(iter(shares)) == "lr"
    assert 0.2 < sum(shares.values()) < 0.6


def test_same_every_time() -> None:
    found = searched(SPACE, 60, lambda p, rng: math.log10(p["lr"]) + 0.1 * rng.normal())
    assert importance(found, SPACE)
    assert importance(found, SPACE) == importance(found, SPACE)
