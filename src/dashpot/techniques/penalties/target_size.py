"""A size that a network is to have, as text: ``20k parameters``, ``0.5x macs``, ``1 MB``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain
from dashpot.core.fields.schedule import Moment
from dashpot.shrinking.target import RULE, Target

__all__ = ["Share", "Target", "TargetSize"]


@dataclass(frozen=True)
class TargetSize(Domain):
    """The text of a size."""

    off: str | None = None

    @property
    def rule(self) -> str:
        return RULE

    def check(self, parameter: str, value: Any) -> str:
        return Target.parse(parameter, value)[1]

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)


@dataclass(frozen=True)
class Share(Domain):
    """A share of the run, as a number in (0, 1] or as text, or a count of epochs or steps; kept as text."""

    @property
    def rule(self) -> str:
        return "a share of the run in (0, 1] such as 0.5 or 50%, or a count above 0 such as 5epochs or 500steps"

    def check(self, parameter: str, value: Any) -> str:
        moment = None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            moment = Moment(round(100.0 * value, 9), "%")
        elif isinstance(value, str):
            try:
                moment = Moment.parse(parameter, value)
            except ConfigError:
                moment = None
        if moment is None or not moment.amount:
            raise ConfigError(parameter, self.rule, value)
        return str(moment)

    def parse(self, parameter: str, text: str) -> str:
        try:
            value: float | str = float(text)
        except ValueError:
            value = text
        if isinstance(value, float) and not 0 < value <= 1:
            raise ConfigError(parameter, self.rule, text)
        return self.check(parameter, value)
