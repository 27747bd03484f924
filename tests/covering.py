"""Groups that hold every pair: what goes together in pairs is tried together in a few larger recipes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any


def covering(items: Sequence[Any], together: Callable[[tuple[Any, ...]], bool], size: int) -> list[tuple[Any, ...]]:
    """Groups of at most ``size`` items in which every pair that may stand together is in one at least, greedily.

    Args:
        together: whether some items may be in one group; of a group that may, every part may.
        size: 2 gives each pair a group of its own.

    Example:
        >>> covering("abcd", lambda group: set(group) != {"a", "b"} and not {"a", "b"} <= set(group), 3)
        [('a', 'c', 'd'), ('b', 'c', 'd')]
    """
    order = {item: k for k, item in enumerate(items)}
    left = {pair for pair in itertools.combinations(items, 2) if together(pair)}
    groups = []
    for pair in itertools.combinations(items, 2):
        if pair not in left:
            continue
        group = pair
        left.discard(pair)
        while len(group) < size:
            new = {x: sum(_ordered(x, y, order) in left for y in group) for x in items if x not in group}
            fits = (x for x in sorted(new, key=lambda x: (-new[x], order[x])) if new[x] and together((*group, x)))
            if (found := next(fits, None)) is None:
                break
            left -= {_ordered(found, y, order) for y in group}
            group = (*group, found)
        groups.append(tuple(sorted(group, key=order.__getitem__)))
    return groups


def _ordered(x: Any, y: Any, order: dict[Any, int]) -> tuple[Any, Any]:
    return (x, y) if order[x] < order[y] else (y, x)
