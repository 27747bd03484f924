"""Field metadata: what values a hyper-parameter may take, where to search for it, and which value means "off".

A technique annotates each of its fields once::

    strength: Annotated[float, Range(0.0, inf, search=(1e-6, 1e-1), log=True, off=0.0)] = 1e-4

and that line is its validation, its command-line option, its method card and its search space.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from dashpot.core.errors import ConfigError
from dashpot.core.fields.schedule import RULE as SCHEDULE_RULE
from dashpot.core.fields.schedule import Moment, Schedule
from dashpot.core.fields.select import Where


class Domain(ABC):
    """The set of values that a field may take."""

    off: Any = None

    @abstractmethod
    def check(self, parameter: str, value: Any) -> Any:
        """Return ``value`` in its canonical Python type, or raise :class:`ConfigError`."""

    @abstractmethod
    def parse(self, parameter: str, text: str) -> Any:
        """Read a value from command-line text, then :meth:`check` it."""

    @property
    @abstractmethod
    def rule(self) -> str:
        """The rule in words, as it reads after "must be"."""


@dataclass(frozen=True)
class Range(Domain):
    """A number between ``low`` and ``high``, or a :class:`~dashpot.core.fields.schedule.Schedule` of such numbers.

    Args:
        low, high: the bounds, both allowed unless ``open`` names them; an infinite bound admits infinity only if
            ``off`` is infinite.
        search: the bounds that a search starts from; ``None`` leaves the field out of the default search.
        log: search on a logarithmic scale.
        off: the value at which the technique does nothing, bit for bit.
        integer: whole numbers only; they count or give shapes, and follow no schedule.
        fixed: follows no schedule, although it is no whole number.
        open: which bounds are excluded: ``""``, ``"low"``, ``"high"`` or ``"both"``.
        optional: whether ``None`` is allowed.
    """

    low: float
    high: float
    search: tuple[float, float] | None = None
    log: bool = False
    off: float | None = None
    integer: bool = False
    open: Literal["", "low", "high", "both"] = ""
    optional: bool = False
    fixed: bool = False

    @property
    def schedulable(self) -> bool:
        """Whether a schedule may stand for the number."""
        return not (self.integer or self.fixed)

    @property
    def rule(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        left, right = self.open in ("low", "both"), self.open in ("high", "both")
        if math.isinf(self.low) and math.isinf(self.high):
            text = f"{kind}, finite"
        elif math.isinf(self.high):
            text = f"{kind} {'>' if left else '>='} {self.low:g}" + ("" if self._infinity_allowed else ", finite")
        else:
            text = f"{kind} in {'(' if left else '['}{self.low:g}, {self.high:g}{')' if right else ']'}"
        return text + (" or None" if self.optional else "")

    @property
    def _infinity_allowed(self) -> bool:
        return self.off is not None and math.isinf(self.off)

    def check(self, parameter: str, value: Any) -> Any:
        if Schedule.looks_like(value):
            return self._schedule(parameter, value)
        return self.number(parameter, value)

    def number(self, parameter: str, value: Any) -> float | int | None:
        """:meth:`check` for what takes no schedule."""
        if value is None and self.optional:
            return None
        if type(value).__name__ in ("bool", "bool_") or not isinstance(value, numbers.Real):
            raise ConfigError(parameter, self.rule, value)
        number = float(value)
        below = number <= self.low if self.open in ("low", "both") else number < self.low
        above = number >= self.high if self.open in ("high", "both") else number > self.high
        beyond = math.isinf(number) and not self._infinity_allowed
        if (
            math.isnan(number)
            or below
            or (above and not math.isinf(self.high))
            or beyond
            or (self.integer and not number.is_integer())
        ):
            raise ConfigError(parameter, self.rule, value)
        return int(number) if self.integer else number

    def _schedule(self, parameter: str, value: Any) -> Schedule:
        if not self.schedulable:
            raise ConfigError(parameter, f"{self.rule}, the same all through the run", value, "It follows no schedule.")
        try:
            schedule = value if isinstance(value, Schedule) else Schedule.parse(value)
        except ConfigError as error:
            why = "" if error.rule == SCHEDULE_RULE else f" ({error.parameter} must be {error.rule})"
            raise ConfigError(parameter, f"{self.rule}, or {SCHEDULE_RULE}{why}", value) from None
        for end in (schedule.start, schedule.end):
            try:
                self.number(parameter, end)
            except ConfigError:
                raise ConfigError(parameter, f"{self.rule}, all through its schedule", str(schedule)) from None
        if schedule.window and self.off is None:
            raise ConfigError(
                parameter,
                "a schedule from one value to another, since it has no value at which it is off",
                str(schedule),
                "Write both values, such as 0.5to0.1.",
            )
        return schedule

    def parse(self, parameter: str, text: str) -> Any:
        if self.optional and text.lower() == "none":
            return None
        try:
            number: Any = int(text) if text.lstrip("+-").isdigit() else float(text)  # as written, for the message
        except ValueError:
            if not Schedule.looks_like(text):
                raise ConfigError(parameter, self.rule, text) from None
            number = text
        return self.check(parameter, number)


@dataclass(frozen=True)
class Choice(Domain):
    """One of a few named values."""

    options: tuple[str, ...]
    search: bool = False
    optional: bool = False

    @property
    def rule(self) -> str:
        return "one of " + ", ".join(self.options) + (" or None" if self.optional else "")

    def check(self, parameter: str, value: Any) -> str | None:
        if value is None and self.optional:
            return None
        if not isinstance(value, str) or value not in self.options:
            raise ConfigError(parameter, self.rule, value)
        return value

    def parse(self, parameter: str, text: str) -> str | None:
        return None if self.optional and text.lower() == "none" else self.check(parameter, text)


@dataclass(frozen=True)
class Flag(Domain):
    """True or False."""

    search: bool = False

    @property
    def rule(self) -> str:
        return "True or False"

    def check(self, parameter: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ConfigError(parameter, self.rule, value)
        return value

    def parse(self, parameter: str, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(parameter, self.rule, text)
        return text.lower() == "true"


@dataclass(frozen=True)
class Name(Domain):
    """A free, non-empty text, such as the name of a score."""

    @property
    def rule(self) -> str:
        return "a non-empty text"

    def check(self, parameter: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(parameter, self.rule, value)
        return value

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)


@dataclass(frozen=True)
class When(Domain):
    """A moment of a run, or a time between two, as text: ``"75%"``, ``"5epochs"`` or ``"500steps"``."""

    off: str | None = None

    @property
    def rule(self) -> str:
        return "a share of the run such as 75%, or a count such as 5epochs or 500steps, >= 0 and finite"

    def check(self, parameter: str, value: Any) -> str:
        try:
            return str(Moment.parse(parameter, value))
        except ConfigError:
            raise ConfigError(parameter, self.rule, value) from None

    def parse(self, parameter: str, text: str) -> str:
        return self.check(parameter, text)


@dataclass(frozen=True)
class Selection(Domain):
    """Which parameters or modules: a :class:`~dashpot.core.fields.select.Where`, or its text."""

    @property
    def rule(self) -> str:
        return "a Where or its text, such as 'weights' or 'weights & ~name:head.*'"

    def check(self, parameter: str, value: Any) -> Where:
        if isinstance(value, Where):
            return value
        if isinstance(value, str):
            return self.parse(parameter, value)
        raise ConfigError(parameter, self.rule, value)

    def parse(self, parameter: str, text: str) -> Where:
        try:
            return Where.parse(text)
        except ConfigError as error:
            raise ConfigError(parameter, f"{self.rule} ({error.parameter} {error.rule})", text, error.remedy) from None


@dataclass(frozen=True)
class FieldSpec:
    """One hyper-parameter: its name, its domain and its default."""

    name: str
    domain: Domain
    default: Any

    @property
    def schedulable(self) -> bool:
        """Whether a schedule may stand for its value."""
        return isinstance(self.domain, Range) and self.domain.schedulable


def fields_of(cls: type) -> dict[str, FieldSpec]:
    """The hyper-parameters of a technique class, in the order of their definition.

    Raises:
        TypeError: a field has no domain, or no default; that is a mistake of the technique's author.
    """
    specs: dict[str, FieldSpec] | None = cls.__dict__.get("_specs")  # the class's own, not inherited ones
    if specs is not None:
        return specs
    specs = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        domains = [extra for extra in getattr(hints[field.name], "__metadata__", ()) if isinstance(extra, Domain)]
        if len(domains) != 1 or field.default is dataclasses.MISSING:
            raise TypeError(f"{cls.__name__}.{field.name} needs one Domain in its annotation and a default")
        specs[field.name] = FieldSpec(field.name, domains[0], field.default)
    cls._specs = specs  # type: ignore[attr-defined]  # resolving annotations is slow, and they do not change
    return specs


def check_whole(parameter: str, value: Any, low: int = 1) -> int:
    """A whole number of at least ``low``, for arguments that are no technique's field."""
    return int(Range(low, math.inf, integer=True).number(parameter, value) or 0)


def check_number(parameter: str, value: Any, domain: Range) -> float:
    """A number in ``domain``, for arguments that are no technique's field."""
    return float(domain.number(parameter, value) or 0.0)
