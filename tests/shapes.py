"""What checks jaxtyping's shapes as functions run, for ``pytest --shapes``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pure functions and methods by beartype. A technique's fields check themselves, by their domains: they take a
    schedule, or its text, where their annotation says a number.
    """
    if next(iter(inspect.signature(function).parameters), "") == "self" and function.__qualname__.endswith("__init__"):
        return function
    return beartype(function)
