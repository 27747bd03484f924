"""Which way an optimizer goes: down, or up under ``maximize=True``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashpot.core.running.view import Params


def direction(group: Mapping[str, Any]) -> int:
    """1 where the optimizer goes down the gradient of this group, -1 where it goes up (``maximize=True``).

    What is added to the gradient of a penalty times this is a penalty either way; and the gradient times this is the
    way in which the loss (or what stands for it) becomes worse.
    """
    return -1 if group.get("maximize", False) else 1


def by_direction(params: Params) -> list[tuple[int, Params]]:
    """The parameters that go down and those that go up, each with its :func:`direction`; none of them is empty."""
    ways = [direction(group) for group in params.groups]
    if len(set(ways)) == 1:
        return [(ways[0], params)]
    return [(way, params.only([i for i, own in enumerate(ways) if own == way])) for way in (1, -1) if way in ways]
