"""Recipes as Python objects, plain dicts, TOML files and command-line text; all four say the same."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from dashpot.core import registry as _registry
from dashpot.core.errors import ConfigError
from dashpot.core.fields import text as _text
from dashpot.core.recipe import Recipe
from dashpot.core.technique import Technique


def registry() -> dict[str, type[Technique]]:
    """Every known technique by name: Dashpot's own, those of imported modules, and those that installed packages
    declare under the entry-point group ``dashpot.techniques``."""
    return _registry.registry()


def find(name: str) -> type[Technique]:
    """The technique class called ``name``, by its kind (``"label-smoothing"``) or its class name.

    Raises:
        UnknownNameError: there is none; the nearest name is suggested.
    """
    return _registry.find(name)


def parse(text: str) -> Technique:
    """Read the text of one technique: ``"l1:strength=1e-4,on=weights"``, or just ``"l1"`` for its defaults. Of a whole
    recipe :meth:`Recipe.coerce` reads it.

    Raises:
        UnknownNameError: unknown technique or field.
        ConfigError: a value that the field's rule forbids, or text that is no ``field=value``.
    """
    technique: Technique = _text.parse(text)
    return technique


def to_text(recipe: Recipe | Technique, full: bool = True) -> str:
    """The command-line text of a technique or a recipe, every field spelled out, or only those that differ from their
    defaults.
    """
    return " | ".join(_text.write(technique, full) for technique in Recipe.coerce(recipe))


def to_dict(recipe: Recipe | Technique) -> dict[str, Any]:
    """Plain JSON types only; infinity is the text ``"inf"``, None the text ``"none"``."""
    return Recipe.coerce(recipe).to_dict()


def from_dict(data: Mapping[str, Any]) -> Recipe:
    """The inverse of :func:`to_dict`. Missing fields take their defaults.

    Raises:
        UnknownNameError, ConfigError: as :func:`parse`; also for a version newer than this library knows.
    """
    return Recipe.from_dict(data)


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
