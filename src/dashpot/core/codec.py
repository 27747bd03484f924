"""Recipes as Python objects, plain dicts, TOML files and command-line text; all four say the same."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.recipe import Recipe, plain
from dashpot.core.technique import Technique

_GROUP = "dashpot.techniques"


def registry() -> dict[str, type[Technique]]:
    """Every known technique by name: Dashpot's own, those of imported modules, and those that installed packages
    declare under the entry-point group ``dashpot.techniques``."""
    import dashpot.techniques  # noqa: F401  (defines the classes)

    def leaves(cls: type[Technique]) -> Iterable[type[Technique]]:
        for sub in cls.__subclasses__():
            if sub.summary:  # abstract bases have none
                yield sub
            yield from leaves(sub)

    return dict(sorted((cls.kind(), cls) for cls in leaves(Technique)))


def find(name: str) -> type[Technique]:
    """The technique class called ``name``, by its kind (``"label-smoothing"``) or its class name.

    Raises:
        UnknownNameError: nobody knows it; the nearest name is suggested.
    """
    for _ in range(2):
        known = registry()
        for kind, cls in known.items():
            if name in (kind, cls.__name__) or name.lower().replace("_", "-") == kind:
                return cls
        for entry in importlib.metadata.entry_points(group=_GROUP):
            entry.load()
    raise UnknownNameError("technique", name, known)


def parse(text: str) -> Technique:
    """Read command-line text: ``"l1:strength=1e-4,on=weights"``, or just ``"l1"`` for its defaults.

    Raises:
        UnknownNameError: unknown technique or field.
        ConfigError: a value that the field's rule forbids, or text that is no ``field=value``.
    """
    name, _, rest = text.strip().partition(":")
    cls = find(name)
    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        field, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"option of {cls.kind()}", "written field=value", part, f"For example {cls.kind()}:{_example(cls)}."
            )
        spec = cls.fields().get(field.strip())
        if spec is None:
            raise _unknown_field(cls, field.strip())
        values[spec.name] = spec.domain.parse(f"{cls.__name__}.{spec.name}", value.strip())
    return cls(**values)


def to_text(technique: Technique) -> str:
    """The command-line text of a technique, every field spelled out."""
    pairs = [f"{name}={plain(getattr(technique, name))}" for name in technique.fields()]
    return technique.name + (":" + ",".join(pairs) if pairs else "")


def to_dict(recipe: Recipe | Technique) -> dict[str, Any]:
    """Plain JSON types only; infinity is the text ``"inf"``, None the text ``"none"``."""
    return (recipe if isinstance(recipe, Recipe) else Recipe((recipe,))).to_dict()


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """The inverse of :func:`to_dict`. Missing fields take their defaults.

    Raises:
        UnknownNameError, ConfigError: as :func:`parse`; also for a version newer than this library knows.
    """
    unknown = set(data) - {"technique"}
    if unknown:
        raise UnknownNameError("recipe key", min(unknown), ["technique"])
    entries = data.get("technique", [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ConfigError("recipe", "a list of [[technique]] tables", entries)
    return Recipe(_technique(entry) for entry in entries)


def dumps(recipe: Recipe | Technique) -> str:
    """A recipe as TOML."""
    import tomli_w

    return tomli_w.dumps(to_dict(recipe))


def loads(text: str) -> Recipe:
    """Read TOML.

    Raises:
        ConfigError: the text is not TOML, or not a recipe.
    """
    try:
        return from_dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("recipe", f"valid TOML ({error})", text[:60]) from None


def _technique(entry: Mapping[str, Any]) -> Technique:
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
    fields = cls.fields()
    for field, value in values.items():
        if field not in fields:
            raise _unknown_field(cls, field)
        if isinstance(value, str):
            values[field] = fields[field].domain.parse(f"{cls.__name__}.{field}", value)
    return cls(**values)


def _unknown_field(cls: type[Technique], field: str) -> UnknownNameError:
    return UnknownNameError(f"field of {cls.kind()}", field, cls.fields(), cls.replaced.get(field, ""))


def _example(cls: type[Technique]) -> str:
    spec = next(iter(cls.fields().values()))
    return f"{spec.name}={plain(spec.default if spec.default is not None else getattr(cls(), spec.name))}"
