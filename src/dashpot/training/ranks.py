"""A training over several ranks: each takes its part of every batch, and all decide alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.recipe import Recipe
from dashpot.core.running.batch import Batch
from dashpot.core.running.nested import leaves, moved
from dashpot.techniques.penalties.compress import Compress
from dashpot.training.setup import pick_device


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks of a training; by itself it is the only one.

    Attributes:
        rank, count: this one, of so many.
        group: over which they exchange.

    >>> [Ranks(rank, 3).part(10, 17) for rank in range(3)]
    [(10, 12), (12, 14), (14, 17)]
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def of(cls, model: nn.Module) -> Ranks:
        """Those of a model in DistributedDataParallel."""
        if not isinstance(model, DistributedDataParallel):
            return cls()
        group = model.process_group
        return cls(torch.distributed.get_rank(group), torch.distributed.get_world_size(group), group)

    @property
    def first(self) -> bool:
        """Whether this one writes and shows."""
        return self.rank == 0

    def part(self, start: int, stop: int) -> tuple[int, int]:
        """This rank's part of a batch; parts differ by one row at most."""
        rows = stop - start
        return start + rows * self.rank // self.count, start + rows * (self.rank + 1) // self.count

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the ranks, the same on all."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        torch.distributed.all_reduce(value, group=self.group)
        return value / self.count

    def joined(self, pairs: list[tuple[Any, Batch]]) -> list[tuple[Any, Batch]]:
        """The outputs of all ranks with their batches, in the order of the ranks, which every rank calls for."""
        if self.count == 1:
            return pairs
        place = next((leaf.device for out, _ in pairs for _, leaf in leaves(out) if isinstance(leaf, Tensor)), "cpu")
        own = [(moved(out, "cpu"), batch.to("cpu")) for out, batch in pairs]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, own, group=self.group)
        return [(moved(out, place), batch.to(place)) for one in found for out, batch in one]

    def one_model(self, model: nn.Module) -> None:
        """The first rank's buffers on all, as DistributedDataParallel has them before each step: the rows of each rank
        have moved its running statistics elsewhere.
        """
        for buffer in model.buffers() if self.count > 1 else ():
            value = buffer.detach().contiguous()
            first = torch.distributed.get_global_rank(self.group, 0)
            torch.distributed.broadcast(value, first, group=self.group)
            buffer.copy_(value)

    def share(self, weight: Tensor | None, own: Tensor, every: Tensor) -> float:
        """What the mean over this rank's rows counts in the mean over all rows of a batch, times the number of ranks.

        Args:
            weight: of all rows, or None.
            own, every: which rows this rank has, and which the batch has.
        """
        mine, all_ = (float(len(rows) if weight is None else weight[rows].double().sum()) for rows in (own, every))
        return mine * self.count / all_

    def demand_possible(
        self, data: Any, smallest: int | None, budget: Any, recipe: Recipe, criterion: Any, ignores: bool
    ) -> None:
        """Refuse what several ranks would each do otherwise, or not as one process does.

        Raises:
            ConfigError, ConflictError: on all ranks.
        """
        if self.count == 1:
            return
        if budget is not None:
            way = "Give epochs: clocks of ranks differ."
            raise ConfigError("budget", "None with a model in DistributedDataParallel", budget, way)
        if not isinstance(data, tuple | list | DataLoader):
            way = "Pass tensors, of which each rank takes its part, or a DataLoader with a DistributedSampler."
            raise ConfigError("data", "tensors or a DataLoader with several ranks", type(data).__name__, way)
        if any(isinstance(technique, Compress) for technique in recipe):
            way = "Train with the others, and shrink the network after that (dashpot.shrink)."
            raise ConflictError(f"Compress cuts tensors that DistributedDataParallel has in its buckets. {way}")
        if smallest == 0:
            raise ConfigError(
                "batch_size", f"a row for each of {self.count} ranks", 0, "Use fewer ranks, or more rows."
            )
        weighs = getattr(criterion, "weight", None) is not None or ignores
        if weighs or getattr(criterion, "reduction", "mean") not in ("mean", "none"):
            rule = "a mean in which rows count by their sample weights alone, with several ranks"
            raise ConfigError("loss", rule, criterion, "Weigh rows by data[2]; leave out those that are to be ignored.")

    def demand_same(self, settings: Mapping[str, Any]) -> None:
        """Refuse ranks that have other data, or train otherwise, than each other. Every rank calls it.

        Raises:
            ConflictError: on all ranks, with what differs.
        """
        if self.count == 1:
            return
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, dict(settings), group=self.group)
        names = dict.fromkeys(name for one in found for name in one)
        differing = {name: [one.get(name) for one in found] for name in names}
        differing = {name: values for name, values in differing.items() if any(v != values[0] for v in values)}
        if differing:
            told = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in differing.items())
            raise ConflictError(
                f"all ranks must train on the same data with the same settings, and these differ by rank: {told}. Give"
                " every rank the whole data: each takes its own part of every batch."
            )


def innermost(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel; any other is itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def device_of(model: nn.Module, device: str | torch.device) -> torch.device:
    """Where a model is that DistributedDataParallel holds, which must not be moved.

    Raises:
        ConfigError: another device was asked for.
    """
    place = next(model.parameters()).device
    if device != "auto" and pick_device(device) != place:
        raise ConfigError("device", f"auto or {place}, where the model in DistributedDataParallel is", str(device))
    return place


def joined(edges: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """Edges of batches in which every rank has a row: a last batch of fewer rows joins the one before.

    >>> joined([(0, 8), (8, 16), (16, 17)], 2)
    [(0, 8), (8, 17)]
    """
    if len(edges) > 1 and edges[-1][1] - edges[-1][0] < count:
        (start, _), (_, stop) = edges[-2:]
        return [*edges[:-2], (start, stop)]
    return edges
