"""``Space``: techniques with their ranges, the learning rate, and options of the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.search.space.distributions import (
    Categorical,
    Distribution,
    Numeric,
    Suggest,
    clipped,
    middle,
    whole_numbers,
)
from dashpot.search.space.technique import TechniqueSpace

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One point of a space.

    Attributes:
        recipe: the techniques that are on.
        lr: the learning rate.
        net: options of the network.
        params: the point itself, as a flat dictionary: switches, fields, ``lr``, ``batch_size`` and ``net.*``.
        batch_size: rows per step; None: the training budget's.
    """

    recipe: Recipe
    lr: float
    net: Mapping[str, Any]
    params: Params
    batch_size: int | None = None

    @property
    def size(self) -> int:
        """How many techniques it has: fewer is simpler."""
        return len(self.recipe)


class Space:
    """Techniques with switches and ranges, a learning rate, a batch size, and options of the network.

    Args:
        techniques: in the order of the recipes they make.
        lr: the range of the learning rate.
        net: options of the network by name; single values are fixed.
        batch_size: rows per step, whole numbers; None: one number for all, which the training budget says.
        lr_default: the learning rate of :meth:`default` and :meth:`baseline`.
        net_default, batch_default: likewise.
        conflicts: pairs of techniques that want the same part of the network, though their ``on`` does not say so.

    Raises:
        ConfigError: nothing to search, or batch sizes that are no whole numbers > 0.

    Example:
        >>> from dashpot.search.space.technique import technique_spaces
        >>> space = Space(technique_spaces(["l1:strength=1e-6..1e-2", "mixup"]), lr=Numeric(1e-4, 1e-2, log=True))
        >>> [name for name in space.distributions()]
        ['l1', 'l1.strength', 'mixup', 'mixup.alpha', 'lr']
        >>> space.candidate({"l1": True, "l1.strength": 1e-3, "mixup": False, "lr": 1e-3}).recipe
        Recipe(L1(strength=0.001))
    """

    def __init__(
        self,
        techniques: Sequence[TechniqueSpace],
        *,
        lr: Numeric,
        net: Mapping[str, Distribution] | None = None,
        batch_size: Distribution | None = None,
        lr_default: float | None = None,
        net_default: Mapping[str, Any] | None = None,
        batch_default: int | None = None,
        conflicts: Collection[frozenset[str]] = (),
    ) -> None:
        self.conflicts = frozenset(conflicts)
        self.techniques, self.lr, self.net = tuple(techniques), lr, dict(net or {})
        self.lr_default = lr_default if lr_default is not None else (lr.low * lr.high) ** 0.5
        self.net_default = {
            **{name: middle(distribution) for name, distribution in self.net.items()},
            **(net_default or {}),
        }
        self.batch_size = None if batch_size is None else whole_numbers("batch_size", batch_size)
        chosen = middle(self.batch_size) if self.batch_size is not None and batch_default is None else batch_default
        self.batch_default: int | None = None if self.batch_size is None else clipped(chosen, self.batch_size)
        varied = [*self.net.values(), *([] if self.batch_size is None else [self.batch_size])]
        if (
            not self.techniques
            and lr.low == lr.high
            and all(isinstance(d, Categorical) and len(d.values) == 1 for d in varied)
        ):
            raise ConfigError(
                "space",
                "something to search",
                "nothing",
                "Name techniques with --with, or give a range of learning rates.",
            )

    @cached_property
    def alternatives(self) -> dict[str, tuple[str, ...]]:
        """For each technique those that hold one of its exclusive slots for the same part of the network: of them a
        candidate has at most one.
        """
        return {
            part.name: tuple(
                other.name
                for other in self.techniques
                if other is not part
                and (other.base.slots() & part.base.slots() or {part.name, other.name} in self.conflicts)
            )
            for part in self.techniques
        }

    def settled(self, params: Params) -> dict[str, Any]:
        """A point without its conflicts: of alternatives that are on, the first one stays."""
        on: set[str] = set()
        found = dict(params)
        for part in self.techniques:
            if not found.get(part.name):
                continue
            if on & set(self.alternatives[part.name]):
                for field in part.fields:
                    found.pop(f"{part.name}.{field}", None)
                found[part.name] = False
            else:
                on.add(part.name)
        return found

    def distributions(self) -> dict[str, Distribution]:
        """Everything that may vary, by name; switches are ``Categorical((False, True))``."""
        found: dict[str, Distribution] = {}
        for part in self.techniques:
            found[part.name] = Categorical((False, True))
            found |= {f"{part.name}.{field}": distribution for field, distribution in part.fields.items()}
        return found | self._training() | {f"net.{name}": distribution for name, distribution in self.net.items()}

    def _training(self) -> dict[str, Distribution]:
        return {"lr": self.lr, **({} if self.batch_size is None else {"batch_size": self.batch_size})}

    def sample(self, trial: Suggest) -> Candidate:
        """A candidate as a trial wants it; fields only of what is on, and of alternatives the first that is on."""
        params: dict[str, Any] = {}
        for part in self._asked(getattr(trial, "number", 0)):
            if any(params.get(other) for other in self.alternatives[part.name]):
                params[part.name] = False
                continue
            params[part.name] = bool(trial.suggest_categorical(part.name, (False, True)))
            if params[part.name]:
                params |= {
                    f"{part.name}.{field}": distribution.suggest(trial, f"{part.name}.{field}")
                    for field, distribution in part.fields.items()
                }
        params |= {name: distribution.suggest(trial, name) for name, distribution in self._training().items()}
        params |= {f"net.{name}": distribution.suggest(trial, f"net.{name}") for name, distribution in self.net.items()}
        return self.candidate(params)

    def _asked(self, number: int) -> Sequence[TechniqueSpace]:
        """The techniques in the order in which a trial is asked: of alternatives each is the first in turn."""
        if not any(self.alternatives.values()):
            return self.techniques
        first = number % len(self.techniques)
        return self.techniques[first:] + self.techniques[:first]

    def candidate(self, params: Params) -> Candidate:
        """The candidate at a point."""
        techniques = []
        for part in self.techniques:
            if params.get(part.name):
                own = {field: f"{part.name}.{field}" for field in part.fields}
                techniques.append(part.at({field: params[name] for field, name in own.items() if name in params}))
        net = {name.removeprefix("net."): value for name, value in params.items() if name.startswith("net.")}
        batch = params.get("batch_size")
        return Candidate(
            Recipe(techniques), float(params["lr"]), net, dict(params), None if batch is None else int(batch)
        )

    def baseline(self) -> Candidate:
        """No technique, the default network and learning rate."""
        return self.candidate(self._defaults(set()))

    def default(self) -> Candidate:
        """Every technique at its own default strength; of alternatives the first."""
        return self.candidate(self.settled(self._defaults({part.name for part in self.techniques})))

    def without(self, candidate: Candidate, name: str) -> Candidate:
        """The same candidate with one technique off."""
        # Not by prefix: of two L1 penalties the second is l1.2, and keeps its fields when the first one goes.
        own = {f"{name}.{field}" for part in self.techniques if part.name == name for field in part.fields}
        kept = {key: value for key, value in candidate.params.items() if key not in own}
        return self.candidate({**kept, name: False})

    def alone(self, candidate: Candidate, name: str) -> Candidate:
        """The same candidate with all other techniques off."""
        for part in self.techniques:
            if part.name != name:
                candidate = self.without(candidate, part.name)
        return candidate

    def defaults_of(self, part: TechniqueSpace) -> dict[str, Any]:
        """A technique that is on, with its fields at their own values, as far as they are in range."""
        values = {
            f"{part.name}.{field}": clipped(getattr(part.base, field), distribution)
            for field, distribution in part.fields.items()
        }
        return {part.name: True, **values}

    def _defaults(self, on: set[str]) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for part in self.techniques:
            params |= self.defaults_of(part) if part.name in on else {part.name: False}
        params["lr"] = clipped(self.lr_default, self.lr)
        params |= {} if self.batch_default is None else {"batch_size": self.batch_default}
        return params | {f"net.{name}": self.net_default[name] for name in self.net}

    def with_lr(self, lr: Numeric) -> Space:
        """The space with another range of learning rates."""
        return self._changed(lr=lr, lr_default=clipped(self.lr_default, lr))

    def with_net(self, net: Mapping[str, Distribution]) -> Space:
        """The same space with other options of the network."""
        default = {name: clipped(self.net_default[name], d) for name, d in net.items() if name in self.net_default}
        return self._changed(net=net, net_default=default)

    def with_batches(self, batch_size: Distribution, default: int) -> Space:
        """The same space with batch sizes to search."""
        return self._changed(batch_size=batch_size, batch_default=default)

    def with_conflicts(self, conflicts: Collection[frozenset[str]]) -> Space:
        """The same space, whose candidates have at most one of each pair."""
        return self._changed(conflicts=self.conflicts | frozenset(conflicts))

    def _changed(self, **changes: Any) -> Space:
        names = ("lr", "net", "batch_size", "lr_default", "net_default", "batch_default", "conflicts")
        return Space(self.techniques, **{**{name: getattr(self, name) for name in names}, **changes})

    def grid(self) -> dict[str, list[Any]]:
        """Values for a grid: three of each range."""
        found: dict[str, list[Any]] = {}
        for name, d in self.distributions().items():
            if isinstance(d, Categorical):
                found[name] = list(d.values)
            else:
                points = np.geomspace(d.low, d.high, 3) if d.log else np.linspace(d.low, d.high, 3)
                found[name] = [round(p) for p in points] if d.integer else list(points)
        return found

    def describe(self) -> dict[str, str]:
        """The space in words, by distribution; two searches with the same text search the same space."""
        fixed = {f"{part.name}!": str(part.base) for part in self.techniques}
        found = {name: str(distribution) for name, distribution in self.distributions().items()}
        for part in self.techniques:
            found |= part.describe()
        return {**found, **fixed}
