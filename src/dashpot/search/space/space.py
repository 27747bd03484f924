"""The space of a search: which ingredients may be on, how strong, and what the network and the optimizer may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.core.space import Choice, Domain, Flag, Range
from dashpot.core.technique import Technique
from dashpot.core.text import Interval, parse_ranges
from dashpot.search.space.distributions import Dimension, Options, Span, Suggest, clipped, middle, whole_numbers

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Ingredient:
    """A technique that a candidate may have.

    Attributes:
        base: the technique with its fixed fields.
        fields: the fields to search, only where it is on.
        name: its path in recipes, which is also the name of its switch.
        ranges: the ranges as they were written, where they were.
    """

    base: Technique
    fields: Mapping[str, Dimension]
    name: str
    ranges: Mapping[str, Interval] = field(default_factory=dict)

    def value(self, name: str, number: Any) -> Any:
        """A field's value for what a trial suggests: itself, or the schedule with it at the searched end."""
        return self.ranges[name].at(number) if name in self.ranges else number


@dataclass(frozen=True)
class Candidate:
    """One point of a space.

    Attributes:
        recipe: the ingredients that are on.
        lr: the learning rate.
        net: options of the network.
        params: the point itself, flat and plain: switches, fields, ``lr``, ``batch_size`` and ``net.*``.
        batch_size: rows per step; None: the course's.
    """

    recipe: Recipe
    lr: float
    net: Mapping[str, Any]
    params: Params
    batch_size: int | None = None

    @property
    def size(self) -> int:
        """How many ingredients it has: fewer is simpler."""
        return len(self.recipe)


class Space:
    """Ingredients with switches and ranges, a learning rate, a batch size, and options of the network.

    Args:
        ingredients: in the order of the recipes they make.
        lr: the range of the learning rate.
        net: options of the network by name; single values are fixed.
        batch_size: rows per step, whole numbers; None: one number for all, which the course says.
        lr_default: the learning rate of :meth:`default` and :meth:`plain`.
        net_default, batch_default: likewise.

    Raises:
        ConfigError: nothing to search, or batch sizes that are no whole numbers > 0.

    Example:
        >>> import dashpot
        >>> space = Space(ingredients(["l1:strength=1e-6..1e-2", "mixup"]), lr=Span(1e-4, 1e-2, log=True))
        >>> [name for name in space.dimensions()]
        ['l1', 'l1.strength', 'mixup', 'mixup.alpha', 'lr']
        >>> space.candidate({"l1": True, "l1.strength": 1e-3, "mixup": False, "lr": 1e-3}).recipe
        Recipe(L1(strength=0.001))
    """

    def __init__(
        self,
        ingredients: Sequence[Ingredient],
        *,
        lr: Span,
        net: Mapping[str, Dimension] | None = None,
        batch_size: Dimension | None = None,
        lr_default: float | None = None,
        net_default: Mapping[str, Any] | None = None,
        batch_default: int | None = None,
    ) -> None:
        self.ingredients, self.lr, self.net = tuple(ingredients), lr, dict(net or {})
        self.lr_default = lr_default if lr_default is not None else (lr.low * lr.high) ** 0.5
        self.net_default = {**{name: middle(dimension) for name, dimension in self.net.items()}, **(net_default or {})}
        self.batch_size = None if batch_size is None else whole_numbers("batch_size", batch_size)
        chosen = middle(self.batch_size) if self.batch_size is not None and batch_default is None else batch_default
        self.batch_default: int | None = None if self.batch_size is None else clipped(chosen, self.batch_size)
        varied = [*self.net.values(), *([] if self.batch_size is None else [self.batch_size])]
        if (
            not self.ingredients
            and lr.low == lr.high
            and all(isinstance(d, Options) and len(d.values) == 1 for d in varied)
        ):
            raise ConfigError(
                "space",
                "something to search",
                "nothing",
                "Name techniques with --with, or give a range of learning rates.",
            )

    def dimensions(self) -> dict[str, Dimension]:
        """Everything that may vary, by name; switches are ``Options((False, True))``."""
        found: dict[str, Dimension] = {}
        for part in self.ingredients:
            found[part.name] = Options((False, True))
            found |= {f"{part.name}.{field}": dimension for field, dimension in part.fields.items()}
        return found | self._training() | {f"net.{name}": dimension for name, dimension in self.net.items()}

    def _training(self) -> dict[str, Dimension]:
        return {"lr": self.lr, **({} if self.batch_size is None else {"batch_size": self.batch_size})}

    def sample(self, trial: Suggest) -> Candidate:
        """A candidate as a trial wants it; fields only of what is on."""
        params: dict[str, Any] = {}
        for part in self.ingredients:
            params[part.name] = bool(trial.suggest_categorical(part.name, (False, True)))
            if params[part.name]:
                params |= {
                    f"{part.name}.{field}": dimension.suggest(trial, f"{part.name}.{field}")
                    for field, dimension in part.fields.items()
                }
        params |= {name: dimension.suggest(trial, name) for name, dimension in self._training().items()}
        params |= {f"net.{name}": dimension.suggest(trial, f"net.{name}") for name, dimension in self.net.items()}
        return self.candidate(params)

    def candidate(self, params: Params) -> Candidate:
        """The candidate at a point."""
        techniques = []
        for part in self.ingredients:
            if params.get(part.name):
                values = {
                    field: part.value(field, params[f"{part.name}.{field}"])
                    for field in part.fields
                    if f"{part.name}.{field}" in params
                }
                # Every technique is a dataclass.
                techniques.append(dataclasses.replace(part.base, **values))  # type: ignore[type-var]
        net = {name.removeprefix("net."): value for name, value in params.items() if name.startswith("net.")}
        batch = params.get("batch_size")
        return Candidate(
            Recipe(techniques), float(params["lr"]), net, dict(params), None if batch is None else int(batch)
        )

    def plain(self) -> Candidate:
        """No ingredient, the default network and learning rate: the one that all others must beat."""
        return self.candidate(self._defaults(set()))

    def default(self) -> Candidate:
        """Every ingredient at its own default strength."""
        return self.candidate(self._defaults({part.name for part in self.ingredients}))

    def without(self, candidate: Candidate, name: str) -> Candidate:
        """The same candidate with one ingredient off."""
        # Not by prefix: of two L1 penalties the second is l1.2, and keeps its fields when the first one goes.
        own = {f"{name}.{field}" for part in self.ingredients if part.name == name for field in part.fields}
        kept = {key: value for key, value in candidate.params.items() if key not in own}
        return self.candidate({**kept, name: False})

    def alone(self, candidate: Candidate, name: str) -> Candidate:
        """The same candidate with all other ingredients off."""
        for part in self.ingredients:
            if part.name != name:
                candidate = self.without(candidate, part.name)
        return candidate

    def _defaults(self, on: set[str]) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for part in self.ingredients:
            params[part.name] = part.name in on
            if part.name in on:
                params |= {
                    f"{part.name}.{field}": clipped(getattr(part.base, field), dimension)
                    for field, dimension in part.fields.items()
                }
        params["lr"] = clipped(self.lr_default, self.lr)
        params |= {} if self.batch_default is None else {"batch_size": self.batch_default}
        return params | {f"net.{name}": self.net_default[name] for name in self.net}

    def with_batches(self, batch_size: Dimension, default: int) -> Space:
        """The same space with batch sizes to search."""
        own: dict[str, Any] = {
            "lr": self.lr,
            "net": self.net,
            "lr_default": self.lr_default,
            "net_default": self.net_default,
        }
        return Space(self.ingredients, **own, batch_size=batch_size, batch_default=default)

    def describe(self) -> dict[str, str]:
        """The space in words, by dimension; two searches with the same text search the same space."""
        fixed = {f"{part.name}!": str(part.base) for part in self.ingredients}
        return {**{name: str(dimension) for name, dimension in self.dimensions().items()}, **fixed}


def ingredients(texts: Iterable[str | Technique]) -> list[Ingredient]:
    """Ingredients from text such as ``"l1:strength=1e-6..1e-2"``, ``"mixup"``, ``"dropout:p=0.2"`` (fixed), or from
    techniques.

    A field with ``low..high`` is searched there, one with a value stays at it, and a field that is not mentioned is
    searched in its own default range if it has one.

    Raises:
        UnknownNameError: no such technique or field.
        ConfigError: a range whose low end is not below its high end, or a logarithmic one from 0; a value the field
            forbids.
    """
    found: list[Ingredient] = []
    counts: dict[str, int] = {}
    for text in texts:
        base, mentioned = (text, {}) if isinstance(text, Technique) else parse_ranges(text)
        counts[base.name] = counts.get(base.name, 0) + 1
        name = base.name if counts[base.name] == 1 else f"{base.name}.{counts[base.name]}"
        own = {
            field: dimension
            for field, domain in base.space().items()
            if field not in mentioned and (dimension := dimension_of(domain)) is not None
        }
        ranges = {field: interval for field, interval in mentioned.items() if interval is not None}
        domains = {field: spec.domain for field, spec in base.fields().items()}
        own |= {
            field: span(f"{type(base).__name__}.{field}", domains[field], interval)
            for field, interval in ranges.items()
        }
        found.append(Ingredient(base, own, name, ranges))
    return found


def span(parameter: str, domain: Domain, interval: Interval) -> Span:
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
    return Span(interval.low, interval.high, log, isinstance(domain, Range) and domain.integer)


def dimension_of(domain: Domain) -> Dimension | None:
    """Where a field is searched by default, or None."""
    if isinstance(domain, Range) and domain.search:
        return Span(*domain.search, domain.log, domain.integer)
    if isinstance(domain, Choice) and domain.search:
        return Options(domain.options)
    if isinstance(domain, Flag) and domain.search:
        return Options((False, True))
    return None
