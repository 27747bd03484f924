"""The ways in which a population trains its members: each must give what the others give."""

from __future__ import annotations

from typing import Any

import pytest

from dashpot.population import planner
from dashpot.population.program import executor
from dashpot.population.stack import NotStackableError


def refuse(*args: Any) -> Any:
    raise NotStackableError("not here")


def by_program(patch: pytest.MonkeyPatch) -> None:
    """As it comes."""
    if executor.kernel() is None:
        pytest.skip("no C++ compiler here")


def by_autograd(patch: pytest.MonkeyPatch) -> None:
    for module in ("population.program.program", "population.program.executor", "core.draws"):
        patch.setattr(f"dashpot.{module}.kernel", lambda: None)


def by_vmap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "stacked", refuse)
    by_autograd(patch)


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "stacked", refuse)
    patch.setattr(planner, "mapped", refuse)


WAYS = {by_program: 0, by_autograd: 0, by_vmap: 1, one_by_one: 1}
"""And the notes that they leave."""
