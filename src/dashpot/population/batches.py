"""The rows of all members, and the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dashpot.core.rng import derive, generator, stream
from dashpot.population.members import Data, Member, Plan
from dashpot.training.batches import batch_edges


class StackedBatches:
    """Each member's rows in the order in which it would see them alone.

    Args:
        members: with as many rows each, and batches as large.

    Attributes:
        edges: of the batches of an epoch.
        keep_bytes: images that are held as bytes come as bytes while training.
    """

    def __init__(self, members: Sequence[Member], data: Data, plan: Plan) -> None:
        self.data = data
        self.rows = torch.stack([data.index(m, m.rows) for m in members])
        self.keep_bytes = False
        self.edges = batch_edges(self.rows.shape[1], plan.batch_of(members[0]))

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def smallest(self) -> int:
        """Rows of the smallest batch."""
        return min(stop - start for start, stop in self.edges)

    def probe(self) -> Tensor:
        """A few rows of input."""
        x, _ = self.data.take(self.rows[0, : max(2, min(5, self.rows.shape[1]))])
        return x

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order."""
        self.rows = self.rows[list(rows)]

    def epoch(self, members: Sequence[Member], number: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
        """Places in the members' rows (on the CPU), inputs, targets and weights (or None) [member, batch, ...] of each
        step of an epoch; the first is 1.
        """
        length, device = self.rows.shape[1], self.rows.device
        keys = [derive(stream(m.seed, "order"), number) for m in members]
        orders = [torch.randperm(length, generator=generator(key), device="cpu") for key in keys]
        order = torch.stack(orders)
        index = self.rows.gather(1, order.to(device))
        for start, stop in self.edges:
            rows = index[:, start:stop]
            x, y = self.data.held(rows) if self.keep_bytes else self.data.take(rows)
            yield order[:, start:stop], x, y, self.data.weights(rows)
