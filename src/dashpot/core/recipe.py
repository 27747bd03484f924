"""``Recipe``: an ordered, immutable combination of techniques, itself used like one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dashpot.core.configured import Configured
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields import text
from dashpot.core.fields.domains import Domain
from dashpot.core.notebook import table, titled
from dashpot.core.running.session import Session


class Recipe(tuple[Configured, ...]):
    """An ordered, immutable, hashable combination of techniques.

    >>> from dashpot import L1, Mixup
    >>> recipe = Mixup(alpha=0.2) | L1(strength=1e-4)
    >>> print(recipe)
    Mixup(alpha=0.2) | L1(strength=0.0001)
    >>> recipe == Mixup(alpha=0.2) | L1(strength=1e-4)
    True
    """

    __slots__ = ()

    def __new__(cls, techniques: Iterable[Configured] = ()) -> Recipe:
        items = tuple(techniques)
        for item in items:
            if not isinstance(item, Configured):
                raise ConfigError(
                    "a recipe's part", "a Technique", item, "Combine techniques with |, such as Mixup() | L1()."
                )
        return super().__new__(cls, items)

    def __or__(self, other: Configured | Recipe) -> Recipe:
        if isinstance(other, Configured):
            return Recipe((*self, other))
        if isinstance(other, Recipe):
            return Recipe((*self, *other))
        return NotImplemented

    def paths(self) -> list[str]:
        """A stable name for each technique: its kind, with ``.2``, ``.3`` for repeats. Adding another kind renames
        none.
        """
        counts: dict[str, int] = {}
        result = []
        for technique in self:
            counts[technique.name] = counts.get(technique.name, 0) + 1
            result.append(
                technique.name if counts[technique.name] == 1 else f"{technique.name}.{counts[technique.name]}"
            )
        return result

    def space(self) -> dict[str, Domain]:
        """What a search may vary: ``"l1.strength"`` -> its domain."""
        return {
            f"{path}.{name}": domain
            for path, t in zip(self.paths(), self, strict=True)
            for name, domain in t.space().items()
        }

    @classmethod
    def coerce(cls, given: Any) -> Recipe:
        """A recipe from whatever may stand for one: None, a technique, a recipe, text such as ``"mixup:alpha=0.2 |
        l1:strength=1e-4"``, the plain dict of one, or a list of these.

        Raises:
            ConfigError, UnknownNameError: something else, or text that says no technique.

        Example:
            >>> import dashpot
            >>> print(dashpot.Recipe.coerce(["mixup:alpha=0.2", dashpot.L1(1e-4)]))
            Mixup(alpha=0.2) | L1(strength=0.0001)
            >>> dashpot.Recipe.coerce("mixup:alpha=0.2 | l1:on=weights | embeddings") == (
            ...     dashpot.Mixup(0.2) | dashpot.L1(on="weights | embeddings"))
            True
        """
        if given is None:
            return cls()
        if isinstance(given, Recipe):
            return given
        if isinstance(given, Configured):
            return cls((given,))
        if isinstance(given, str):
            return cls(text.parse(part) for part in text.split_recipe(given))
        if isinstance(given, Mapping):
            return cls.from_dict(given)
        if isinstance(given, Iterable):
            return cls(technique for part in given for technique in cls.coerce(part))
        raise ConfigError("recipe", "a Recipe, a Technique, text such as 'l1:strength=1e-4', or a list of these", given)

    @classmethod
    def coerce_one(cls, parameter: str, given: Any) -> Configured:
        """:meth:`coerce` where exactly one technique is meant.

        Raises:
            ConfigError: as there; also none or several.
        """
        found = cls.coerce(given)
        if len(found) != 1:
            raise ConfigError(parameter, "one technique", str(found))
        return found[0]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """The inverse of :meth:`to_dict`. Missing fields take their defaults.

        Raises:
            UnknownNameError, ConfigError: an unknown key, technique or field, a value that its rule forbids, or a
                version newer than this library knows.
        """
        unknown = set(data) - {"technique"}
        if unknown:
            raise UnknownNameError("recipe key", min(unknown), ["technique"])
        entries = data.get("technique", [])
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ConfigError("recipe", "a list of [[technique]] tables", entries)
        return cls(text.read(entry) for entry in entries)

    def attach(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        classes: int | None = None,
        targets: str | None = None,
        batch_size: int | None = None,
        closure: bool = False,
        ignore_index: int | None = None,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
        modality: str | None = None,
    ) -> Session:
        """Attach to a model and its optimizer; every conflict is found here, before any work.

        Args:
            model: any module, before ``torch.compile`` if a technique acts on the model.
            optimizer: any torch optimizer; its ``step`` drives whatever acts on gradients and weights.
            seed: of all of the recipe's draws.
            classes: how many classes there are; mixing integer targets needs it.
            targets: ``"classes"``, ``"values"`` or ``"multilabel"``; what is known is checked now rather than at the
                first batch.
            batch_size: the smallest batch to come; batches of one are refused where batch normalization cannot train on
                them.
            closure: the loop calls ``optimizer.step(closure)``, so that a technique may ask for another gradient.
            ignore_index: the class that marks positions without a target; they are left out of the mean.
            steps: optimizer steps of the whole run, which schedules over a share of it need.
            steps_per_epoch: optimizer steps of an epoch, which schedules in epochs need.
            modality: what the inputs are: ``"table"``, ``"image"`` (floats in [0, 1] until the model standardizes
                them), ``"signal"`` or ``"text"``; a technique for others is refused.

        Returns:
            The session: the one mutable object. Close it, or use it in ``with``.

        Raises:
            ConflictError: two techniques want one slot, a need is missing, the model cannot bear a technique, or a
                schedule needs a length that is not given.
        """
        return Session(
            self,
            model,
            optimizer,
            seed=seed,
            classes=classes,
            targets=targets,
            batch_size=batch_size,
            closure=closure,
            ignore_index=ignore_index,
            steps=steps,
            steps_per_epoch=steps_per_epoch,
            modality=modality,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types only; infinity is the text ``"inf"``, None the text ``"none"``."""
        return {
            "technique": [
                {"name": t.name, "version": t.version, **{f: text.plain(getattr(t, f)) for f in t.fields()}}
                for t in self
            ]
        }

    def _repr_html_(self) -> str:
        """In a notebook: a row for each technique."""
        rows = [(path, t, t.summary) for path, t in zip(self.paths(), self, strict=True)]
        return titled("Recipe", table(("", "", "what it does"), rows)) if rows else titled("Recipe without techniques")

    def __str__(self) -> str:
        return " | ".join(map(str, self)) or "Recipe()"

    def __repr__(self) -> str:
        return f"Recipe({', '.join(map(str, self))})"
