"""Arguments of the Python interface: times, ranges, techniques, options of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number
from dashpot.core.fields.text import split_recipe
from dashpot.core.technique import Technique
from dashpot.search.space.distributions import Categorical, Distribution, Numeric


def wanted_of(recipe: Any) -> list[str | Technique]:
    """Techniques as a list, from text, a technique, a recipe or a list of these.

    Raises:
        ConfigError: something else.
    """
    if isinstance(recipe, str):
        return list(split_recipe(recipe))
    if isinstance(recipe, Technique):
        return [recipe]
    if not isinstance(recipe, Iterable) or isinstance(recipe, Mapping):
        raise ConfigError("recipe", "techniques, text such as 'l1:strength=1e-6..1e-2', or a list of these", recipe)
    return [part for one in recipe for part in wanted_of(one)]


def rate(lr: Any) -> Numeric:
    """A range of learning rates, from a pair or one number.

    Raises:
        ConfigError: not numbers above 0, or low above high.
    """
    pair = tuple(lr) if isinstance(lr, tuple | list) else (lr, lr)
    if len(pair) != 2:
        raise ConfigError("lr", "a number, or a pair (low, high)", lr)
    low, high = (check_number("lr", value, Range(0.0, math.inf, open="low")) for value in pair)
    if low > high:
        raise ConfigError("lr", "a pair (low, high) with low below high", lr)
    return Numeric(low, high, log=True)


def distribution(name: str, value: Any) -> Distribution:
    """What of a network is searched: values, a ready distribution, or one value that is fixed.

    Raises:
        ConfigError: no values, or some that a study cannot hold.
    """
    if isinstance(value, Numeric | Categorical):
        return value
    values = tuple(value) if isinstance(value, list | tuple | range) else (value,)
    if not values or not all(v is None or isinstance(v, bool | int | float | str) for v in values):
        raise ConfigError(
            f"net[{name!r}]",
            "one or several numbers, texts or booleans",
            value,
            "Name a choice by text, and look it up in the model.",
        )
    return Categorical(values)


def as_text(name: str, options: Distribution) -> str:
    """A choice for a built-in network as the command line writes it.

    Raises:
        ConfigError: a range.
    """
    if not isinstance(options, Categorical):
        raise ConfigError(f"net[{name!r}]", "values, for a built-in network", str(options))
    return (
        f"{name}={','.join(str(value).lower() if isinstance(value, bool) else str(value) for value in options.values)}"
    )


def name_of(function: Callable[..., Any] | None) -> str | None:
    """The module and name of a function of the user's own; two with the same name count as equal."""
    return (
        None
        if function is None
        else f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    )
