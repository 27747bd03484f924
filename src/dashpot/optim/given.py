"""The penalty that an optimizer is given: what it may be, and what of it an optimizer alone cannot know."""

from __future__ import annotations

from typing import Any

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.select import weights
from dashpot.core.recipe import Recipe
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Proximal


def as_penalty(given: Any) -> Proximal | None:
    """The penalty that a technique or its text means.

    Raises:
        ConfigError: what has no proximal map, with the way out.
    """
    penalty = Recipe.coerce_one("penalty", given) if isinstance(given, str | Recipe) else given
    if penalty is None or isinstance(penalty, Proximal):
        return penalty
    way = (
        "ElasticNet(l1_ratio=0.0) is L2 by a proximal step."
        if type(penalty).__name__ == "L2"
        else "Attach it to the model as a recipe instead."
    )
    raise ConfigError("penalty", "a technique with a proximal map, such as L1(strength=1e-4)", penalty, way)


def demand_weights(penalty: Proximal) -> None:
    """Refuse a selection by names, types or roles that an optimizer without the model cannot look up.

    Raises:
        ConfigError: with the way out.
    """
    if penalty.on != weights:
        raise ConfigError(
            f"{type(penalty).__name__}.on",
            "weights where the optimizer is given parameters, which tell nothing of names, types and roles",
            str(penalty.on),
            "Give the optimizer the model itself, or put the parameters to be penalized into a group with this penalty"
            " and without `on`.",
        )


def demand_steps(penalty: Proximal) -> None:
    """Refuse a schedule whose moments only the length of the run could tell.

    Raises:
        ConflictError: with the way out.
    """
    try:
        penalty.at(0)
    except ConflictError:
        raise ConflictError(
            f"{penalty}: an optimizer does not know the length of the run, so that its penalty's schedule must end at"
            " a step, as in 0to1e-4@until=500steps. Count in steps, or attach the penalty as a recipe."
        ) from None


def first_strength(penalty: Proximal) -> float:
    """The strength, for compiled passes; 0 for constraints, which have none."""
    return float(penalty.strength) if isinstance(penalty, Penalty) else 0.0
