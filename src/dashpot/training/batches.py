"""Training and validation data as batches on the device: tensors by index, datasets and loaders as they come."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dashpot.core.batch import unit_range
from dashpot.core.errors import DataError
from dashpot.core.rng import derive, generator, stream

Item = tuple[Any, Tensor, Tensor | None]


class Batches:
    """Data that can be gone through epoch by epoch, in an order that depends on seed and epoch only.

    Args:
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, a map-style Dataset of ``(x, y)``, or a DataLoader.
        batch_size: rows per batch; a last batch of one row joins the one before, since batch normalization cannot train
            on it.
        seed: of the order.
        device: where batches are wanted; tensors are moved there once.
        modality: ``"image"``: pixels that are held as bytes (uint8) come as float32 in [0, 1].
    """

    def __init__(
        self, name: str, data: Any, batch_size: int, seed: int, device: torch.device, modality: str | None = None
    ) -> None:
        self._pixels = modality == "image"
        self.device, self._batch_size, self._key = device, batch_size, stream(seed, "order")
        self.tensors: tuple[Tensor, ...] | None = None
        self._loader: DataLoader[Any] | None = None
        if isinstance(data, DataLoader):
            self._loader = data
        elif isinstance(data, Dataset):
            self._loader = DataLoader(data, batch_size=batch_size, shuffle=True)
        elif isinstance(data, Sequence) and len(data) in (2, 3):
            self.tensors = tuple(
                _tensor(f"{name}[{i}]", part).to(device) for i, part in enumerate(data) if part is not None
            )
            lengths = [len(part) for part in self.tensors]
            if len(set(lengths)) > 1 or lengths[0] == 0:
                raise DataError(f"{name} must be x, y (and weight) of one length above 0, got lengths {lengths}.")
        else:
            raise DataError(
                f"{name} must be (x, y), (x, y, weight), a Dataset or a DataLoader, got {type(data).__name__}."
            )

    def __len__(self) -> int:
        """Batches per epoch."""
        # One of the two is set.
        return len(self._starts()) if self.tensors is not None else len(self._loader)  # type: ignore[arg-type]

    @property
    def smallest(self) -> int | None:
        """The smallest batch to come, where that is known."""
        if self.tensors is None:
            return None
        starts = self._starts()
        return min(stop - start for start, stop in starts)

    def epoch(self, epoch: int) -> Iterator[Item]:
        """The batches of one training epoch."""
        if self.tensors is None:
            self._seed_loader(epoch)
            yield from self._loaded()
            return
        order = torch.randperm(len(self.tensors[0]), generator=generator(derive(self._key, epoch)), device="cpu").to(
            self.device, non_blocking=True
        )
        for start, stop in self._starts():
            rows = order[start:stop]
            yield self._item([part.index_select(0, rows) for part in self.tensors])

    def in_order(self, limit: int | None = None, chunk: int = 4096) -> Iterator[Item]:
        """Every row once, in the order given; with ``limit``, that many rows spread evenly."""
        if self.tensors is None:
            yield from self._loaded()
            return
        n = len(self.tensors[0])
        parts = self.tensors
        if limit is not None and limit < n:
            rows = torch.linspace(0, n - 1, limit, device=self.device).long()
            parts = tuple(part.index_select(0, rows) for part in parts)
            n = limit
        for start in range(0, n, chunk):
            yield self._item([part[start : start + chunk] for part in parts])

    def first(self) -> Item:
        """A few rows, to learn the shapes from."""
        if self.tensors is not None:
            return self._item([part[:2] for part in self.tensors])
        for item in self._loaded():
            return item
        raise DataError("the training data are empty: the loader gave no batch.")

    def fingerprint(self) -> str:
        """A short hash of the data, or of the number of batches where they come from a loader."""
        digest = hashlib.blake2b(digest_size=8)
        if self.tensors is None:
            digest.update(f"loader of {len(self)}".encode())
        for part in self.tensors or ():
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _starts(self) -> list[tuple[int, int]]:
        assert self.tensors is not None
        return batch_edges(len(self.tensors[0]), self._batch_size)

    def _seed_loader(self, epoch: int) -> None:
        """A loader's own generator and sampler, too, depend on seed and epoch only, so that a resumed run sees the
        order of the first.
        """
        assert self._loader is not None
        sampler = self._loader.sampler
        for own in {
            id(g): g for g in (self._loader.generator, getattr(sampler, "generator", None)) if g is not None
        }.values():
            own.manual_seed(derive(self._key, epoch) >> 1)
        if callable(set_epoch := getattr(sampler, "set_epoch", None)):
            set_epoch(epoch)

    def _loaded(self) -> Iterator[Item]:
        assert self._loader is not None
        for item in self._loader:
            if not isinstance(item, Sequence) or len(item) not in (2, 3):
                raise DataError("a loader must give (x, y) or (x, y, weight) batches.")
            yield self._item(
                [part.to(self.device, non_blocking=True) if isinstance(part, Tensor) else part for part in item]
            )

    def _item(self, parts: Sequence[Any]) -> Item:
        x = unit_range(parts[0]) if self._pixels else parts[0]
        return x, parts[1], parts[2] if len(parts) > 2 else None

    def whole(self) -> tuple[Tensor, Tensor]:
        """All inputs and targets, as batches have them."""
        items = list(self.in_order())
        return torch.cat([x for x, _, _ in items]), torch.cat([y for _, y, _ in items])


def batch_edges(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end; a last batch of one row joins the one before."""
    edges = [*range(0, rows, batch_size), rows]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return list(itertools.pairwise(edges))


def _tensor(name: str, part: Any) -> Tensor:
    try:
        tensor = part if isinstance(part, Tensor) else torch.as_tensor(part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} must be a tensor or a numeric array, got {type(part).__name__} ({error}).") from None
    return tensor.float() if tensor.dtype == torch.float64 and not isinstance(part, Tensor) else tensor
