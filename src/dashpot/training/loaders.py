"""Datasets and loaders: their length, their smallest batch, batches of a dataset's rows; which rows are present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, Sampler

from dashpot.core.errors import DataError
from dashpot.core.rng import derive, generator
from dashpot.core.running.nested import map_tensors
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.core.weights import checked_weights


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


def present(name: str, parts: Sequence[Any], rows: int) -> list[Any]:
    """Inputs, targets and weights without the rows of weight 0: absent rows are in no batch, and change no order.

    Raises:
        DataError: weights that are none.
    """
    weight = torch.from_numpy(checked_weights(name, parts[2], rows)).float()
    if not bool(weight.any()):
        raise DataError(f"{name} must be numbers that float32 holds, got none above 1e-45. Multiply them.")
    kept = weight.nonzero()[:, 0]
    if len(kept) == rows:
        return [*parts[:2], weight]
    return [
        *(
            part.narrowed(kept)
            if isinstance(part, TensorRows)
            else map_tensors(lambda t: t.index_select(0, kept.to(t.device)), part)
            for part in parts[:2]
        ),
        weight[kept],
    ]
