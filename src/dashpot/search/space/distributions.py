"""Distributions of a space: ranges of numbers, and categorical values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole


class Suggest(Protocol):
    """The ``suggest`` interface of Optuna's trials, as a space uses it."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Numeric:
    """Numbers from ``low`` to ``high``."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def suggest(self, trial: Suggest, name: str) -> Any:
        if self.integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (" (log)" if self.log else "")


@dataclass(frozen=True)
class Categorical:
    """A few values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggest, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return " | ".join(map(str, self.values))


Distribution = Numeric | Categorical


def clipped(value: Any, distribution: Distribution) -> Any:
    """A default moved into the range that the user asked for."""
    if isinstance(distribution, Categorical):
        return value if value in distribution.values else distribution.values[0]
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if distribution.integer else float(value)


def whole_numbers(name: str, distribution: Distribution) -> Distribution:
    """A distribution of whole numbers > 0; a range becomes one of whole numbers.

    Raises:
        ConfigError: other values, or a range whose low end is not below its high end.
    """
    if isinstance(distribution, Categorical):
        return Categorical(tuple(check_whole(name, value) for value in distribution.values))
    low, high = (check_whole(name, value) for value in (distribution.low, distribution.high))
    if low >= high:
        raise ConfigError(name, "a range low..high with low below high", str(distribution))
    return dataclasses.replace(distribution, low=low, high=high, integer=True)


def middle(distribution: Distribution) -> Any:
    """The value to stand for a distribution: the first one, or the middle of the range on its scale."""
    if isinstance(distribution, Categorical):
        return distribution.values[0]
    value = (
        (distribution.low * distribution.high) ** 0.5
        if distribution.log
        else (distribution.low + distribution.high) / 2
    )
    return round(value) if distribution.integer else value
