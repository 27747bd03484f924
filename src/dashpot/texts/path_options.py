"""A file or folder and options of it in one text, such as ``glove.txt:frozen=true``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.fields.domains import Domain


def path_and_options(name: str, text: str, known: Mapping[str, Domain]) -> tuple[str, dict[str, Any]]:
    """The path before the last ``:``, and the options behind it, ``option=value,option=value``. A text without a ``=``
    behind a ``:``, or that is itself the path of what exists, has no options.

    Args:
        name: of the parameter, for errors.
        text: as the user writes it.
        known: the options, by name.

    Raises:
        ConfigError: an option that is no ``option=value``, one that is said twice, or a value that it does not allow.
        UnknownNameError: no such option.

    >>> from dashpot.core.fields.domains import Flag
    >>> path_and_options("vectors", "a/glove.txt:frozen=true", {"frozen": Flag()})
    ('a/glove.txt', {'frozen': True})
    >>> path_and_options("vectors", "C:/glove.txt", {"frozen": Flag()})
    ('C:/glove.txt', {})
    """
    path, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail or Path(text).exists():
        return text, {}
    found: dict[str, Any] = {}
    for part in tail.split(","):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise ConfigError(name, "a path, or path:option=value,option=value", text)
        if option not in known:
            raise UnknownNameError(f"option of {name}", option, known)
        if option in found:
            raise ConfigError(f"{name} {option}", "said once", text)
        found[option] = known[option].parse(f"{name} {option}", value)
    return path, found
