"""How far a network has come on its way to a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashpot.shrinking.channels import Channels
from dashpot.shrinking.costs import Cost
from dashpot.techniques.penalties.target_size import Target


def planned_size(full: float, target: float, progress: float) -> float:
    """The size at a share of the way, geometrically from full to target: ``full^(1 - p) target^p``."""
    p = min(max(progress, 0.0), 1.0)
    return float(full ** (1 - p) * target**p)


@dataclass
class Way:
    """How far a network has come.

    Attributes:
        cost: by which its size is measured.
        there: bool [units], those that are left.
        full, target, size: of the network at first, as asked for, and now.
        gone: the units that are not left, in the order in which they went.
        fading: bool [units], those that become small before they go.
    """

    cost: Cost
    there: np.ndarray
    full: float
    target: float
    size: float
    gone: list[int]
    fading: np.ndarray

    @staticmethod
    def of(
        channels: Channels,
        to: str,
        gone: Sequence[int],
        fading: np.ndarray,
        first: float | None = None,
        allowed: float = 1.0,
    ) -> Way:
        """After these units went; ``first`` is the size at first, where some have left the network since, and
        ``allowed`` the share of the size asked for that it may have, where it was measured to be slower than expected.
        """
        target, _ = Target.parse("Compress.to", to)
        cost = channels.costs[target.measure]
        full = first or cost.size(np.ones(channels.count, bool))
        there = np.ones(channels.count, bool)
        there[list(gone)] = False
        return Way(cost, there, full, target.of(full) * allowed, cost.size(there), list(gone), fading)

    def without(self, unit: int) -> float:
        """The size without one more."""
        self.there[unit] = False
        found = self.cost.size(self.there)
        self.there[unit] = True
        return found

    def drop(self, unit: int) -> None:
        """It goes."""
        self.there[unit] = False
        self.size = self.cost.size(self.there)
        self.gone = [*self.gone, unit]

    def force(self, channels: Channels, order: Sequence[int]) -> None:
        """Down to the target by units too large to come near it: the one that comes nearest, else the next."""
        while self.size > self.target:
            left = [unit for unit in order if self.there[unit] and not channels.last(unit, self.there)]
            if not left:
                return
            below = [(-size, k) for k, unit in enumerate(left) if (size := self.without(unit)) <= self.target]
            self.drop(left[min(below)[1] if below else 0])

    def down(self, channels: Channels, order: Sequence[int]) -> None:
        """To the target, by units in this order."""
        for unit in order:
            if self.size > self.target and self.there[unit] and not channels.last(unit, self.there):
                self.drop(unit)

    def until(self, order: Sequence[int], size: float) -> int:
        """How many of these must go, from the first on, until the network is of this size at most."""
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            there = self.there.copy()
            there[list(order[:middle])] = False
            if self.cost.size(there) <= size:
                high = middle
            else:
                low = middle + 1
        return low
