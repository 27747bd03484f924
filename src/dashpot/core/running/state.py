"""Trees of named tensors and numbers, as techniques keep them between steps."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def without(state: Any, names: Collection[str]) -> Any:
    """The same tree without what is kept for tensors of these names: their keys, and their mention in lists.

    >>> without({"average": {"0.weight": 1.0, "2.weight": 2.0}, "masks": ["2.weight"], "best": None}, {"2.weight"})
    {'average': {'0.weight': 1.0}, 'masks': [], 'best': None}
    """
    if isinstance(state, dict):
        return {key: without(value, names) for key, value in state.items() if key not in names}
    if isinstance(state, list):
        return [without(value, names) for value in state if not (isinstance(value, str) and value in names)]
    return state
