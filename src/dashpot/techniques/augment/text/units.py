"""Batches of texts as tensors of units that move, go and are masked as one: a word with its pieces, or an id."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Change:
    """What becomes of the units of a batch.

    Attributes:
        order: int64 [batch, units], the old unit at each place; None: they stay.
        gone: bool [batch, units], of the old units: they are left out.
        masked: bool [batch, units], of the old units: a mask stands for them.
    """

    order: Tensor | None = None
    gone: Tensor | None = None
    masked: Tensor | None = None


def firsts(there: Bool[Tensor, "batch places"]) -> Int[Tensor, "batch places"]:
    """The place of the k-th that is true, in each row; 0 where there are fewer.

    >>> firsts(torch.tensor([[False, True, True]]))
    tensor([[1, 2, 0]])
    """
    n, width = there.shape
    rank = torch.where(there, there.cumsum(dim=1) - 1, width)
    places = torch.arange(width, device=there.device).expand(n, width)
    return torch.zeros(n, width + 1, dtype=torch.int64, device=there.device).scatter_(1, rank, places)[:, :width]


def chosen(
    free: Bool[Tensor, "batch units"], draws: Float[Tensor, "batch units"], rate: float
) -> Bool[Tensor, "batch units"]:
    """Those of the free ones whose number is below ``rate``; one of them, of the highest number, is never chosen.

    >>> chosen(torch.tensor([[True, True, False]]), torch.tensor([[0.05, 0.3, 0.9]]), 0.5)
    tensor([[ True, False, False]])
    """
    return one_left(free, free & (draws < rate), draws)


def one_left(
    free: Bool[Tensor, "batch units"], hit: Bool[Tensor, "batch units"], draws: Float[Tensor, "batch units"]
) -> Bool[Tensor, "batch units"]:
    """Where all that are free are hit, the one of the highest number is not."""
    every = hit.sum(dim=1, keepdim=True) == free.sum(dim=1, keepdim=True)
    highest = draws.masked_fill(~free, -1).argmax(dim=1, keepdim=True)
    return hit & ~(every & (torch.arange(free.shape[1], device=free.device) == highest))


@dataclass(frozen=True)
class Units:
    """The units of a batch; all tensors have the width of the batch, since no text has more units than places.

    Attributes:
        x: whole numbers [batch, length], those that are there in front.
        start, size: of each unit, int64 [batch, length]; a size of 0 where a text has no more units.
        token: the number of each unit among those that have random numbers, int64 [batch, length].
        tokens: how many of those each text has, int64 [batch].
        free: bool [batch, length], of the units: they may change.
    """

    x: Tensor
    start: Tensor
    size: Tensor
    token: Tensor
    tokens: Tensor
    free: Tensor

    @staticmethod
    def of(x: Tensor, there: Tensor, heads: Tensor, counted: Tensor, free: Tensor) -> Units:
        """From masks of the places of ``x`` [batch, length].

        Args:
            there: places that hold something; the others are padding, wherever they stand.
            heads: places at which a unit begins; what is there before the first is one of its own.
            counted: heads of units that have random numbers.
            free: heads of units that may change.
        """
        places = firsts(there)
        filled = torch.arange(x.shape[1], device=x.device) < there.sum(dim=1, keepdim=True)
        heads, counted, free = (part.gather(1, places) & filled for part in (heads, counted, free))
        heads = heads | (filled & (heads.cumsum(dim=1) == 0) & (filled.cumsum(dim=1) == 1))
        unit = torch.where(filled, heads.cumsum(dim=1) - 1, x.shape[1])
        size = unit.new_zeros(len(x), x.shape[1] + 1).scatter_add_(1, unit, torch.ones_like(unit))[:, :-1]
        start = firsts(heads)
        begun = size > 0
        token = (counted.cumsum(dim=1) - 1).clamp_min(0).gather(1, start)
        return Units(x.gather(1, places), start, size, token, counted.sum(dim=1), free.gather(1, start) & begun)

    def changed(self, change: Change, mask: int, padding: int) -> Tensor:
        """The texts after a change, and ``padding`` behind.

        Args:
            mask: the number that stands for what is masked.
        """
        n, width = self.x.shape
        at = torch.arange(width, device=self.x.device).expand(n, width)
        order = at if change.order is None else change.order
        size = self.size
        if change.masked is not None:
            size = torch.where(change.masked, size.clamp_max(1), size)
        if change.gone is not None:
            size = size.masked_fill(change.gone, 0)
        size = size.gather(1, order)
        ends = size.cumsum(dim=1)
        slot = torch.searchsorted(ends, at.contiguous(), right=True).clamp_max(max(width - 1, 0))
        unit = order.gather(1, slot)
        source = self.start.gather(1, unit) + at - (ends - size).gather(1, slot)
        found = self.x.gather(1, source.clamp(0, max(width - 1, 0)))
        if change.masked is not None:
            found = found.masked_fill(change.masked.gather(1, unit), mask)
        return found.masked_fill(at >= ends[:, -1:], padding)


def put_back(x: Tensor, there: Tensor, found: Tensor) -> Tensor:
    """``x`` with what was found, which stands in front, at the places that are there."""
    place = (there.cumsum(dim=1) - 1).clamp_min(0)
    return torch.where(there, found.gather(1, place), x)
