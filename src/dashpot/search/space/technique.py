"""One technique of a space: its fixed fields, its searched fields, and their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Domain, Flag, Range
from dashpot.core.fields.text import Interval, parse_ranges
from dashpot.core.technique import Technique
from dashpot.search.space.distributions import Categorical, Distribution, Numeric


@dataclass(frozen=True)
class TechniqueSpace:
    """A technique that a candidate may have.

    Attributes:
        base: the technique with its fixed fields.
        fields: the fields to search, only where it is on.
        name: its path in recipes, which is also the name of its switch.
        ranges: the ranges as they were written, where they were; one may be an end of a schedule.

    Example:
        >>> (part,) = technique_spaces(["dropout:p=0.1..0.5to0"])
        >>> print(part.at({"p": 0.3}), "|", part.describe()["dropout.p"])
        Dropout(p='0.3to0') | 0.1..0.5to0
    """

    base: Technique
    fields: Mapping[str, Distribution]
    name: str
    ranges: Mapping[str, Interval] = field(default_factory=dict)

    def at(self, values: Mapping[str, Any]) -> Technique:
        """The technique with values of its searched fields: numbers, which a schedule takes at its searched end."""
        found = {name: self.ranges[name].at(value) if name in self.ranges else value for name, value in values.items()}
        return dataclasses.replace(self.base, **found)

    def describe(self) -> dict[str, str]:
        """Its searched fields in words, by name; a range with its schedule."""
        found = {f"{self.name}.{name}": str(distribution) for name, distribution in self.fields.items()}
        scheduled = {name: interval for name, interval in self.ranges.items() if interval.schedule is not None}
        return found | {f"{self.name}.{name}": str(interval) for name, interval in scheduled.items()}


def technique_spaces(texts: Iterable[str | Technique]) -> list[TechniqueSpace]:
    """Techniques from text such as ``"l1:strength=1e-6..1e-2"``, ``"mixup"``, ``"dropout:p=0.2"`` (fixed) or
    ``"sam:rho=0.01..0.1@from=90%"``, or from techniques.

    A field with ``low..high`` is searched there, one with a value or a schedule stays at it, and a field that is not
    mentioned is searched in its own default range if it has one.

    Raises:
        UnknownNameError: no such technique or field.
        ConfigError: a range whose low end is not below its high end, or a logarithmic one from 0; a value the field
            forbids.
    """
    found: list[TechniqueSpace] = []
    counts: dict[str, int] = {}
    for text in texts:
        base, mentioned = (text, {}) if isinstance(text, Technique) else parse_ranges(text)
        counts[base.name] = counts.get(base.name, 0) + 1
        name = base.name if counts[base.name] == 1 else f"{base.name}.{counts[base.name]}"
        ranges = {field: interval for field, interval in mentioned.items() if interval is not None}
        lowest: dict[str, Any] = {field: interval.at(interval.low) for field, interval in ranges.items()}
        base = _bearing(base, mentioned, lowest)
        own = {
            field: distribution
            for field, domain in dataclasses.replace(base, **lowest).space().items()  # one field may replace another
            if field not in mentioned and (distribution := distribution_of(domain)) is not None
        }
        kind, domains = type(base).__name__, {field: spec.domain for field, spec in base.fields().items()}
        own |= {field: numeric(f"{kind}.{field}", domains[field], interval) for field, interval in ranges.items()}
        found.append(TechniqueSpace(base, own, name, ranges))
    return found


def _bearing(base: Technique, mentioned: Mapping[str, Any], lowest: Mapping[str, Any]) -> Technique:
    """The technique, able to take values of its ranges: one with ``relative=0.01..0.1`` has no strength."""
    try:
        dataclasses.replace(base, **lowest)
    except ConfigError:
        fixed = {field: getattr(base, field) for field, interval in mentioned.items() if interval is None}
        return type(base)(**fixed, **lowest)
    return base


def numeric(parameter: str, domain: Domain, interval: Interval) -> Numeric:
    """A range on the scale of its field.

    Raises:
        ConfigError: a logarithmic range begins at 0.
    """
    log = isinstance(domain, Range) and domain.log
    if log and interval.low <= 0:
        raise ConfigError(
            parameter,
            "a range that begins above 0, since it is searched on a logarithmic scale",
            str(interval),
            "For off there is the switch.",
        )
    return Numeric(interval.low, interval.high, log, isinstance(domain, Range) and domain.integer)


def distribution_of(domain: Domain) -> Distribution | None:
    """Where a field is searched by default, or None."""
    if isinstance(domain, Range) and domain.search:
        return Numeric(*domain.search, domain.log, domain.integer)
    if isinstance(domain, Choice) and domain.search:
        return Categorical(domain.options)
    if isinstance(domain, Flag) and domain.search:
        return Categorical((False, True))
    return None
