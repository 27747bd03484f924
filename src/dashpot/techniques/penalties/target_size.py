"""A size that a network is to have, as text: ``20k parameters``, ``0.5x macs``, ``1 MB``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Domain
from dashpot.core.fields.schedule import Moment, plain
from dashpot.shrinking.costs import Measure

RULE = "a size such as '20k parameters', '0.5x parameters', '0.5x macs', '2M macs' or '1 MB', above 0, shares up to 1x"
_SIZE = re.compile(
    r"(\d+\.?\d*|\.\d+)\s*(?:(k|m|g|x)\s*(parameters|params|macs|bytes)|(k|m|g)?b|\s(parameters|params|macs|bytes))",
    re.IGNORECASE,
)
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "x": 1.0}


@dataclass(frozen=True)
class Target:
    """A size.

    Attributes:
        amount: how much, in units of the measure, or as a share of the full network.
        relative: it is a share.
        measure: what is counted; multiply-adds are of one sample.
    """

    amount: float
    relative: bool
    measure: Measure

    @staticmethod
    def parse(parameter: str, value: Any) -> tuple[Target, str]:
        """The size, and its text in one form.

        Raises:
            ConfigError: it is none.
        """
        found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(parameter, RULE, value)
        number, scale, word, of_bytes, bare = found.groups()
        scale = (scale or of_bytes or "").lower()
        named = (word or bare or "bytes").lower()
        measure: Measure = "parameters" if named == "params" else named  # type: ignore[assignment]  # by the pattern
        amount, relative = float(number) * _TIMES[scale], scale == "x"
        if amount <= 0 or (relative and amount > 1):
            raise ConfigError(parameter, RULE, value)
        shown = {"k": "k", "m": "M", "g": "G", "x": "x"}.get(scale, "")
        text = plain(float(number))
        return Target(amount, relative, measure), (
            f"{text} {shown}B" if word is None and bare is None else f"{text}{shown} {measure}"
        )

    def of(self, full: float) -> float:
        """The size for a network that has this one."""
        return self.amount * full if self.relative else self.amount


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
