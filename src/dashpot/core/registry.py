"""Every technique by name. A class is registered when it is defined."""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from pathlib import Path
from typing import Any

from dashpot.core.errors import UnknownNameError

GROUP = "dashpot.techniques"
"""The entry-point group under which installed packages declare modules with techniques."""


ELSEWHERE = {
    "monotone": "--monotone COLUMN=1, or dashpot.nets.MonotoneNet",
    "tta": "--tta flip, or tta= of fit and tune",
    **dict.fromkeys(
        ("batchnorm", "layernorm", "groupnorm", "rmsnorm"),
        "--net norm=batch, or dashpot.normalization.insert and convert",
    ),
    "mcdropout": "dashpot.mc_predict",
    "recalibrate": "dashpot.recalibrate",
}
"""What is asked for by a name as if it were a technique, and where it is; in small letters, without hyphens."""


class RegistryWarning(UserWarning):
    """Two classes of different modules have one name in recipes."""


_classes: dict[str, type[Any]] = {}


def kind_of(cls: type[Any]) -> str:
    """The name in recipes: the class name in kebab case, ``LabelSmoothing`` -> ``label-smoothing``."""
    return kind_of_name(cls.__name__)


def kind_of_name(name: str) -> str:
    """The same of the name of a class.

    >>> kind_of_name("LabelSmoothing"), kind_of_name("EMA")
    ('label-smoothing', 'ema')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def register(cls: type[Any]) -> None:
    """Register a class by its name; of two with one name the later wins.

    Warns:
        RegistryWarning: the earlier one stands elsewhere. A notebook cell that is run again replaces its own.
    """
    kind = kind_of(cls)
    earlier = _classes.get(kind)
    if earlier is not None and (earlier.__module__, earlier.__qualname__) != (cls.__module__, cls.__qualname__):
        warnings.warn(
            f"the name {kind!r} now means {cls.__module__}.{cls.__qualname__}, no longer"
            f" {earlier.__module__}.{earlier.__qualname__}. Rename one of the classes.",
            RegistryWarning,
            stacklevel=3,
        )
    _classes[kind] = cls


def registry() -> dict[str, type[Any]]:
    """Every known technique by name: Dashpot's own, those of imported modules, and those that installed packages
    declare under the entry-point group ``dashpot.techniques`` as soon as a name is not found."""
    import dashpot.techniques  # noqa: F401  (defines the classes)

    return dict(sorted(_classes.items()))


SUMMARY = re.compile(r'^class (\w+)|^    summary = "(.*)"$', re.MULTILINE)


def summaries() -> dict[str, str]:
    """Dashpot's own techniques by name, and what they do: read from the text of their files, since importing them
    loads torch, and a shell that completes a name cannot wait for that.
    """
    found = {}
    for path in (Path(__file__).parents[1] / "techniques").rglob("*.py"):
        name = ""
        for match in SUMMARY.finditer(path.read_text(encoding="utf-8")):
            name = match[1] or name
            if match[2]:
                found[kind_of_name(name)] = match[2]
    return dict(sorted(found.items()))


def _letters(name: str) -> str:
    """A name without case and hyphens: ``cutmix`` and ``Cut_Mix`` are ``cut-mix``."""
    return re.sub("[-_]", "", name.lower())


def find(name: str) -> type[Any]:
    """The technique class called ``name``, by its kind (``"label-smoothing"``) or its class name.

    Raises:
        UnknownNameError: there is none; the nearest name is suggested.
    """
    for _ in range(2):
        known = registry()
        for kind, cls in known.items():
            if name in (kind, cls.__name__) or _letters(name) == _letters(kind):
                return cls
        for entry in importlib.metadata.entry_points(group=GROUP):
            entry.load()
    place = ELSEWHERE.get(_letters(name))
    raise UnknownNameError(
        "technique", name, known, f"It is no technique: see {place}." if place else "dashpot techniques lists all."
    )
