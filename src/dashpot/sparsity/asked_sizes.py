"""Which sizes are asked for: those that are named, or some between the smallest and the full one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.importance import demand_possible
from dashpot.shrinking.target import Target
from dashpot.techniques.penalties.compress import Compress

LEAST = 0.05
"""The smallest size where nobody names any, as a share of the full one."""
ROOM = 1.1
"""The smallest is so much above what the network needs with one unit in each layer."""


def read_sizes(sizes: Sequence[str] | Compress | str | None) -> tuple[Compress | None, Sequence[str] | None]:
    """The technique, or the sizes, that were given."""
    if isinstance(sizes, str | Compress | Recipe):
        return check_compress(sizes), None
    return None, None if sizes is None else list(sizes)


def check_compress(given: object) -> Compress:
    """The ``Compress`` that a technique or its text means.

    Raises:
        ConfigError: it is none.
    """
    technique = Recipe.coerce_one("sizes", given) if isinstance(given, str | Recipe) else given
    if not isinstance(technique, Compress):
        raise ConfigError("sizes", "sizes such as '0.5x parameters', or a Compress", given)
    return technique


def sizes_between(
    named: Sequence[str] | None, technique: Compress | None, channels: Channels, points: int, name: str
) -> list[str]:
    """The sizes as text, from small to large."""
    if named is None:
        least = (technique.to,) if technique is not None else _least(channels)
        named = [*least, *_between(least[0], channels, points)]
    parsed = [Target.parse("sizes", one) for one in named]
    measures = {target.measure for target, _ in parsed}
    if len(measures) != 1 or "time" in measures:
        rule = "sizes of one measure, parameters, macs or bytes; times are measured beside them"
        raise ConfigError("sizes", rule, named)
    for target, said in parsed:
        demand_possible(target, channels, f"Compress(to={said!r})", name)
    full = _full(channels, parsed[0][0])
    return list(dict.fromkeys(said for _, said in sorted(parsed, key=lambda pair: pair[0].of(full))))


def _least(channels: Channels) -> tuple[str]:
    """The smallest size by default."""
    full = channels.costs["parameters"].size(np.ones(channels.count, bool))
    share = min(1.0, max(LEAST, ROOM * channels.smallest("parameters") / full))
    return (f"{share:.3g}x parameters",)


def _between(least: str, channels: Channels, points: int) -> list[str]:
    """Sizes above the least, evenly spaced on a logarithmic scale up to the full one."""
    target, _ = Target.parse("sizes", least)
    if target.measure == "time":
        return []
    full = _full(channels, target)
    share = min(target.of(full) / full, 1.0)
    return [f"{float(f'{share ** (1 - k / (points - 1)):.3g}'):g}x {target.measure}" for k in range(1, points)]


def _full(channels: Channels, target: Target) -> float:
    return channels.costs[target.measure].size(np.ones(channels.count, bool))
