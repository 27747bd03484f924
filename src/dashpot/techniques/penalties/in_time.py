"""A network that is to be faster, measured while it is trained: by its plan, what it takes is only expected."""

from __future__ import annotations

import copy
import weakref

from torch import nn

from dashpot.core.running.context import Context
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.time_cost import times_as_fast
from dashpot.techniques.penalties.target_size import Target
from dashpot.techniques.penalties.way import Way

MEASURED, AT_ONCE = 6, 0.1
"""How often it is measured at most at the end of the way, where it can only become smaller; and by what share of its
size it does so at once: clocks are noisy, and what left does not come back.
"""
LOOKS, MOVES = (0.6, 0.8, 0.95), 0.5
"""At what shares of the way the network is measured too, so that what it takes more or less than expected is made good
on the rest of it; and by what share of itself the size asked for is moved at most.
"""
VAIN = 0.1
"""By what share of what it would in proportion two cuts must have made it faster, or calls take the time and it stays.
"""
CAUTION, STEEP = 0.7, 0.5
"""The share of what it takes too long that goes first, when it is not known how much faster less of it is; and how much
faster it is at least, of what a cost in proportion would make it.
"""


class InTime:
    """The full network beside which others are measured; nothing where no time was asked for."""

    def __init__(self) -> None:
        self._whole: weakref.WeakKeyDictionary[Context, nn.Module] = weakref.WeakKeyDictionary()
        self._full: weakref.WeakKeyDictionary[Context, float] = weakref.WeakKeyDictionary()

    def begin(self, ctx: Context, full: float) -> None:
        """The network of now is the full one, and takes so long by what its layers take."""
        self._whole[ctx], self._full[ctx] = copy.deepcopy(ctx.model), full

    def full(self, ctx: Context) -> float | None:
        """What the full network takes by the clock of this process: a resumed run has another."""
        return self._full.get(ctx)

    def share(self, ctx: Context, channels: Channels, way: Way, target: Target) -> float:
        """What the network takes of the full one's time, measured."""
        return 1 / times_as_fast(self._whole[ctx], ctx.model, channels, way.there, target.batch)

    def look(self, ctx: Context, channels: Channels, way: Way, target: Target, progress: float) -> None:
        """Where it is due, measure, and set ``way.target`` to the size at which the network would be in time."""
        done = ctx.state.get("looks", 0)
        due = sum(progress >= at for at in LOOKS)
        if ctx not in self._whole or due <= done or way.size >= way.full:
            return
        ctx.state["looks"] = due
        expected = way.size / way.full
        wrong = self.share(ctx, channels, way, target) / expected
        ctx.state["allowed"] = 1 / min(max(wrong, 1 - MOVES), 1 + MOVES)
        way.target = target.of(way.full) * ctx.state["allowed"]

    def late(self, ctx: Context, channels: Channels, way: Way, target: Target) -> bool:
        """Whether the network at the end of the way is too slow still, for which ``way.target`` is lower now."""
        if ctx not in self._whole:
            return False
        seen, late = ctx.state.setdefault("measured", []), 0.0
        if len(seen) < MEASURED:
            seen.append([way.size, self.share(ctx, channels, way, target)])
            late = seen[-1][1] - target.amount
        if late <= 0 or _in_vain(seen, way.full):
            self._whole.pop(ctx, None)
            return False
        (size, share), full = seen[-1], way.full
        slope = 1 / (CAUTION * full)
        if len(seen) > 1 and seen[-2][0] > size:
            slope = max((seen[-2][1] - share) / (seen[-2][0] - size), STEEP / full)
        way.target = size - min(late / slope, AT_ONCE * size)
        ctx.state["allowed"] = way.target / target.of(full)
        return True


def _in_vain(seen: list[list[float]], full: float) -> bool:
    """Whether the last two cuts, of [size, share of the time] each, made it no faster."""
    if len(seen) < 3:
        return False
    (size, share), (now, after) = seen[-3], seen[-1]
    return share - after < VAIN * (size - now) / full
