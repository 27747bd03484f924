"""Datasets and loaders: their length, their smallest batch, and batches of a dataset's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from dashpot.core.errors import DataError
from dashpot.core.rng import derive, generator


class RowBatches(Sampler[list[int]]):
    """The batches of a dataset, in the order in which tensors would come; without an epoch, in the order given.

    Args:
        edges: where batches begin and end.
        key: of the orders.
    """

    def __init__(self, edges: Sequence[tuple[int, int]], key: int) -> None:
        self.edges, self._key = edges, key
        self.epoch: int | None = None

    def __len__(self) -> int:
        return len(self.edges)

    def __iter__(self) -> Iterator[list[int]]:
        rows = self.edges[-1][1]
        order = torch.arange(rows, device="cpu")
        if self.epoch is not None:
            order = torch.randperm(rows, generator=generator(derive(self._key, self.epoch)), device="cpu")
        for start, stop in self.edges:
            yield order[start:stop].tolist()


def length_of(name: str, data: Any) -> int:
    """The length of a dataset or loader.

    Raises:
        DataError: it does not say it, or there is nothing in it.
    """
    try:
        found = len(data)
    except (TypeError, NotImplementedError):
        raise DataError(
            f"{name} must have a length, which the schedule of the learning rate needs, got a"
            f" {type(data).__name__} without one. Give its dataset a __len__, or pass tensors."
        ) from None
    if found == 0:
        raise DataError(f"{name} must have at least one row, got an empty {type(data).__name__}.")
    return found


def smallest_of(loader: DataLoader[Any]) -> int | None:
    """The smallest batch that a loader gives, where that is known."""
    sampler = loader.batch_sampler
    if isinstance(sampler, RowBatches):
        return min(stop - start for start, stop in sampler.edges)
    if isinstance(loader.dataset, IterableDataset) or type(sampler) is not BatchSampler or sampler.drop_last:
        return None
    rows = len(sampler.sampler)  # type: ignore[arg-type]  # typed as Iterable; this sampler's own length needs it too
    return min(sampler.batch_size, (rows - 1) % sampler.batch_size + 1)
