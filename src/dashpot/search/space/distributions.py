"""Dimensions of a search: ranges of numbers, and a few values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dashpot.core.errors import ConfigError
from dashpot.core.space import check_whole


class Suggest(Protocol):
    """What a space asks of a trial; Optuna's trials have it."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Span:
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
class Options:
    """A few values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggest, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return " | ".join(map(str, self.values))


Dimension = Span | Options


def clipped(value: Any, dimension: Dimension) -> Any:
    """A default moved into the range that the user asked for."""
    if isinstance(dimension, Options):
        return value if value in dimension.values else dimension.values[0]
    value = min(max(value, dimension.low), dimension.high)
    return int(value) if dimension.integer else float(value)


def whole_numbers(name: str, dimension: Dimension) -> Dimension:
    """A dimension of whole numbers > 0; a range becomes one of whole numbers.

    Raises:
        ConfigError: other values, or a range whose low end is not below its high end.
    """
    if isinstance(dimension, Options):
        return Options(tuple(check_whole(name, value) for value in dimension.values))
    low, high = (check_whole(name, value) for value in (dimension.low, dimension.high))
    if low >= high:
        raise ConfigError(name, "a range low..high with low below high", str(dimension))
    return dataclasses.replace(dimension, low=low, high=high, integer=True)


def middle(dimension: Dimension) -> Any:
    """The value to stand for a dimension: the first one, or the middle of the range on its scale."""
    if isinstance(dimension, Options):
        return dimension.values[0]
    value = (dimension.low * dimension.high) ** 0.5 if dimension.log else (dimension.low + dimension.high) / 2
    return round(value) if dimension.integer else value
