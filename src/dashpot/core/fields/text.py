"""The one reader of techniques as text and as tables: fixed values, and for a search also ranges of them.

``"l1:strength=1e-4,on=weights"`` names a technique and its fields; ``" | "`` stands between techniques. A value with a
comma, a bar or a quote in it is written in double quotes, two of them for one inside; an ``on=`` is also understood
without. Inside an ``on`` names are quoted by the same rule (:mod:`dashpot.core.fields.select`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import Choice, Domain, FieldSpec, Flag, Range
from dashpot.core.fields.quoting import quoted, split, unquoted
from dashpot.core.fields.schedule import Schedule
from dashpot.core.fields.schedule import plain as in_figures
from dashpot.core.fields.select import Where
from dashpot.core.registry import find

_FIELD = re.compile(r"\s*\w[\w-]*\s*=")


@dataclass(frozen=True)
class Interval:
    """A range ``low..high`` of a field, for a search; it may stand for one end of a schedule.

    Attributes:
        low, high: the bounds.
        schedule: the schedule whose ends in ``ends`` are searched, or None where the number itself is.
        ends: ``("start",)``, ``("end",)`` or, for a window, both.
    """

    low: float
    high: float
    schedule: Schedule | None = None
    ends: tuple[str, ...] = ()

    def at(self, number: float) -> Any:
        """The field's value for a number of the range: itself, or the schedule with it."""
        if self.schedule is None:
            return number
        start, end = (float(number) if e in self.ends else getattr(self.schedule, e) for e in ("start", "end"))
        if start == end and len(self.ends) < 2:
            return number  # from a number to the same one
        return dataclasses.replace(self.schedule, start=start, end=end)

    def __str__(self) -> str:
        span = f"{self.low:g}..{self.high:g}"
        if self.schedule is None:
            return span
        head, at, rest = str(self.schedule).partition("@")
        start, to, end = head.partition("to")
        values = [span if name in self.ends else value for name, value in (("start", start), ("end", end))]
        return (f"{values[0]}to{values[1]}" if to else values[0]) + at + rest


def parse(text: str) -> Any:
    """The technique of ``"l1:strength=1e-4,on=weights"``, or of just ``"l1"`` with its defaults.

    Raises:
        UnknownNameError: unknown technique or field.
        ConfigError: a value that the field's rule forbids, or text that is no ``field=value``.
    """
    cls, values = _fields(text)
    return cls(**{spec.name: spec.domain.parse(f"{cls.__name__}.{spec.name}", value) for spec, value in values})


def parse_ranges(text: str) -> tuple[Any, dict[str, Interval | None]]:
    """The technique, and the fields that the text mentions: with their range, or None where they are fixed.

    Raises:
        UnknownNameError, ConfigError: as :func:`parse`; also for a range of what is no number.
    """
    cls, values = _fields(text)
    fixed, mentioned = {}, {}
    for spec, value in values:
        parameter = f"{cls.__name__}.{spec.name}"
        ranged = ".." in value and not _literal(spec.domain, value)
        mentioned[spec.name] = interval(parameter, spec.domain, value) if ranged else None
        if not ranged:
            fixed[spec.name] = spec.domain.parse(parameter, value)
    return cls(**fixed), mentioned


def interval(parameter: str, domain: Domain, text: str) -> Interval:
    """A range from ``low..high``, which may be one end of a schedule: ``0.1..0.5to0``, ``0.01..0.1@from=90%``.

    Raises:
        ConfigError: the field is no number, a bound or the schedule is not in its domain, low is not below high, or
            there are two ranges.
    """
    if not isinstance(domain, Range):
        raise ConfigError(parameter, f"{domain.rule}, which has no range", text)
    head, at, options = text.partition("@")
    start, to, end = (part.strip() for part in head.partition("to"))
    if ".." in start and ".." in end:
        raise ConfigError(parameter, "a schedule with a range for one of its ends", text, "Fix the other one.")
    low, high = (domain.parse(parameter, part.strip()) for part in (start if ".." in start else end).split("..", 1))
    if not (isinstance(low, int | float) and isinstance(high, int | float) and low < high):
        raise ConfigError(parameter, "a range low..high with low below high", text)
    if not (to or at):
        return Interval(low, high)
    other = end if ".." in start else start
    inside = in_figures(low if other == in_figures(high) else high)  # a bound stands in, other than the fixed end
    values = (inside if ".." in part else part for part in (start, end))
    schedule = Schedule.parse(to.join(values if to else (inside,)) + at + options)
    ends = ("start",) if to and ".." in start else ("end",) if to else ("start", "end")
    found = Interval(low, high, schedule, ends)
    for bound in (low, high):
        domain.check(parameter, found.at(bound))
    return found


def split_recipe(text: str) -> list[str]:
    """The techniques of ``"mixup:alpha=0.2 | l1:on=weights | embeddings"``: a bar may also be the "or" of an ``on``."""
    parts: list[str] = []
    for piece in split(text, "|"):
        if parts and ":" in parts[-1] and _is_where(re.split(r",(?=\s*\w[\w-]*\s*=)", piece)[0]):
            parts[-1] += "|" + piece
        else:
            parts.append(piece)
    return [part.strip() for part in parts]


def write(technique: Any, full: bool = True) -> str:
    """The text of a technique, every field spelled out, or only those that differ from their defaults."""
    pairs = [
        f"{name}={quoted(str(plain(getattr(technique, name))), ',|')}"
        for name, spec in technique.fields().items()
        if full or getattr(technique, name) != spec.default
    ]
    return str(technique.name) + (":" + ",".join(pairs) if pairs else "")


def read(entry: Mapping[str, Any]) -> Any:
    """A technique from a table with its name, its version and its fields; missing fields take their defaults.

    Raises:
        UnknownNameError, ConfigError: as :func:`parse`; also for a version newer than this library knows.
    """
    values = dict(entry)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("technique.name", "the name of a technique", name)
    cls = find(name)
    version = values.pop("version", cls.version)
    if not isinstance(version, int) or version > cls.version:
        raise ConfigError(
            f"version of {name}",
            f"at most {cls.version}, the newest that this Dashpot knows",
            version,
            "Update dashpot.",
        )
    if version < cls.version:
        values = cls.upgrade(version, values)
    for field, value in values.items():
        spec = _spec(cls, field)
        if isinstance(value, str):
            values[field] = spec.domain.parse(f"{cls.__name__}.{field}", value)
    return cls(**values)


def plain(value: Any) -> Any:
    """A field's value as a plain JSON type."""
    if value is None:
        return "none"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    # What is no plain value (a Where, a Grouping, a Schedule) writes itself, and its domain reads that text.
    return value if isinstance(value, bool | int | float | str) else str(value)


def _fields(text: str) -> tuple[Any, list[tuple[FieldSpec, str]]]:
    """The class that text names, and the text of each field's value."""
    name, _, rest = text.strip().partition(":")
    cls = find(name.strip())
    found: list[tuple[FieldSpec, str]] = []
    for piece in split(rest, ","):
        if not piece.strip():
            continue
        if _FIELD.match(piece) is None:
            if found and not isinstance(found[-1][0].domain, Range | Choice | Flag):
                found[-1] = found[-1][0], f"{found[-1][1]},{piece}"  # a comma of a name or an `on`
                continue
            raise ConfigError(
                f"option of {cls.kind()}",
                "written field=value",
                piece.strip(),
                f"For example {cls.kind()}:{_example(cls)}.",
            )
        field, _, value = piece.partition("=")
        found.append((_spec(cls, field.strip()), value.strip()))
    return cls, [(spec, unquoted(value)) for spec, value in found]


def _spec(cls: Any, field: str) -> FieldSpec:
    fields: dict[str, FieldSpec] = cls.fields()
    if field not in fields:
        raise UnknownNameError(f"field of {cls.kind()}", field, fields, cls.replaced.get(field, ""))
    return fields[field]


def _literal(domain: Domain, value: str) -> bool:
    """Whether two dots are part of a name, as in ``on=name:a..b``, and no range."""
    if isinstance(domain, Range):
        return False
    try:
        domain.parse("", value)
    except ConfigError:
        return False
    return True


def _is_where(text: str) -> bool:
    try:
        Where.parse(text)
    except ConfigError:
        return False
    return True


def _example(cls: Any) -> str:
    spec = next(iter(cls.fields().values()))
    return f"{spec.name}={plain(spec.default if spec.default is not None else getattr(cls(), spec.name))}"
