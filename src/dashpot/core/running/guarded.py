"""A technique whose scheduled numbers cannot be copied by what is installed once."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from dashpot.core.errors import ConflictError


def guarded(technique: Any, scheduled: Collection[str]) -> Any:
    """A copy that refuses to tell the ``scheduled`` fields: ``on_model`` runs once, and a number that it took would
    stay as it was at the start.
    """
    cls, fields = type(technique), frozenset(scheduled)

    def told(self: Any, name: str) -> Any:
        if name in fields:
            raise ConflictError(
                f"{cls.__name__}.on_model copies {name}, which follows a schedule here, and would keep its first value."
                f" Read ctx.technique.{name} when the hook is called, or take ctx.scalar({name!r})."
            )
        return object.__getattribute__(self, name)

    # Without a summary it is not registered; everything else is its parent's.
    kind = type(cls.__name__, (cls,), {"__getattribute__": told, "summary": "", "__doc__": cls.__doc__})
    twin = copy.copy(technique)
    object.__setattr__(twin, "__class__", kind)
    return twin
