"""Arguments as a caller in Python writes them: times, ranges, techniques, choices of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.space import Range, check_number
from dashpot.core.technique import Technique
from dashpot.search.space.distributions import Dimension, Options, Span


def wanted_of(given: Any) -> list[str | Technique]:
    """Ingredients as a list, from text, a technique, a recipe or a list of these.

    Raises:
        ConfigError: something else.
    """
    parts = [given] if isinstance(given, str | Technique) else list(given) if isinstance(given, Iterable) else [given]
    for part in parts:
        if not isinstance(part, str | Technique):
            raise ConfigError("recipe", "techniques, text such as 'l1:strength=1e-6..1e-2', or a list of these", part)
    return parts


def rate(given: Any) -> Span:
    """A range of learning rates, from a pair or one number.

    Raises:
        ConfigError: not numbers above 0, or low above high.
    """
    pair = tuple(given) if isinstance(given, tuple | list) else (given, given)
    if len(pair) != 2:
        raise ConfigError("lr", "a number, or a pair (low, high)", given)
    low, high = (check_number("lr", value, Range(0.0, math.inf, open="low")) for value in pair)
    if low > high:
        raise ConfigError("lr", "a pair (low, high) with low below high", given)
    return Span(low, high, log=True)


def dimension(name: str, given: Any) -> Dimension:
    """What of a network is searched: values, a ready dimension, or one value that is fixed.

    Raises:
        ConfigError: no values, or some that a study cannot hold.
    """
    if isinstance(given, Span | Options):
        return given
    values = tuple(given) if isinstance(given, list | tuple | range) else (given,)
    if not values or not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        raise ConfigError(
            f"net[{name!r}]",
            "one or several numbers, texts or booleans",
            given,
            "Name a choice by text, and look it up in the model.",
        )
    return Options(values)


def as_text(name: str, given: Dimension) -> str:
    """A choice for a built-in network as the command line writes it.

    Raises:
        ConfigError: a range.
    """
    if not isinstance(given, Options):
        raise ConfigError(f"net[{name!r}]", "values, for a built-in network", str(given))
    return f"{name}={','.join(str(value).lower() if isinstance(value, bool) else str(value) for value in given.values)}"


def seconds(given: Any) -> float:
    """``90``, ``"90"``, ``"90s"``, ``"10m"`` or ``"2h"`` as seconds.

    Raises:
        ConfigError: anything else.

    >>> seconds(90), seconds("10m"), seconds("1.5h")
    (90.0, 600.0, 5400.0)
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (given[:-1], units[given[-1]]) if isinstance(given, str) and given[-1:] in units else (given, 1.0)
    try:
        value = math.nan if isinstance(number, bool) else float(number) * unit
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError("budget", "seconds, or a time such as '90s', '10m' or '2h'", given)
    return value
