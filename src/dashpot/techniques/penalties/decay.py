"""The warning shared by the two ways to decay weights."""

from __future__ import annotations

import warnings

from dashpot.core.fields.select import Where
from dashpot.core.rules import Rule
from dashpot.core.running.view import ModelView

TWICE = Rule(
    "decay-twice",
    "weight_decay of the optimizer",
    "weights shrink by both.",
    "warned",
    "give the optimizer weight_decay=0.",
)
OF_COMPUTED = Rule(
    "penalty-of-computed-weights",
    "weight norm, spectral norm and other parametrizations",
    "the penalty would act on what the weight is computed from: shrinking the direction of a weight norm leaves the"
    " weight as it is.",
    "refused",
    "remove the parametrization, or name what is meant by on=.",
)


class DoubleDecayWarning(UserWarning):
    """Decay is set in the optimizer and in the recipe."""


def warn_double_decay(name: str, view: ModelView, on: Where) -> None:
    """Warn where the optimizer decays parameters that the recipe decays too."""
    rate = max((group.get("weight_decay", 0) for _, _, group in view.params(on)), default=0)
    if rate:
        optimizer = type(view.optimizer).__name__
        warnings.warn(
            f"decay is set twice: {optimizer} has weight_decay={rate:g} and the recipe has {name}. Give {optimizer}"
            " weight_decay=0 to keep the recipe's.",
            DoubleDecayWarning,
            stacklevel=7,
        )
