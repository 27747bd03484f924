"""Training and validation data as batches on the device: tensors by index, datasets and loaders as they come."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from dashpot.core.errors import DataError
from dashpot.core.rng import derive, generator, stream
from dashpot.core.running.arrays import as_tensor
from dashpot.core.running.batch import Batch, unit_range
from dashpot.core.running.nested import leaves, map_tensors, moved, told
from dashpot.core.running.sizes import at_once
from dashpot.core.running.tensor_rows import TensorRows, UnitRows
from dashpot.training.loaders import RowBatches, length_of, present, smallest_of
from dashpot.training.ranks import Ranks, joined


class Batches:
    """Data that can be gone through epoch by epoch, in an order that depends on seed and epoch only.

    Args:
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, also in dicts and tuples; a map-style Dataset of
            such; or a DataLoader, which may also give whole batches (:class:`~dashpot.Batch`).
        batch_size: rows per batch; a last batch of one row joins the one before, since batch normalization cannot train
            on it.
        seed: of the order.
        device: where batches are wanted; tensors are moved there once.
        modality: ``"image"``: pixels that are held as bytes (uint8) come as float32 in [0, 1].
        dtype: of floating-point arrays; tensors keep theirs.

    Attributes:
        pixels: whether bytes are pixels.
        convert: what is done to each batch, once the task and the network are known; by default nothing.
        ranks: of which each takes its part of every training batch of tensors.
        share: what the mean over the last batch's rows counts, times the number of ranks.
    """

    def __init__(
        self,
        name: str,
        data: Any,
        batch_size: int,
        seed: int,
        device: torch.device,
        modality: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.pixels = modality == "image"
        self.convert: Callable[[Batch], Batch] = lambda batch: batch
        self.ranks, self.share = Ranks(), 1.0
        self.device, self._batch_size, self._key = device, batch_size, stream(seed, "order")
        self._parts: tuple[Any, ...] | None = None
        self.rows: int | None = None  # where the data are tensors
        self._loader: DataLoader[Any] | None = None
        if isinstance(data, DataLoader):
            self._loader = data
        elif isinstance(data, IterableDataset):
            self._loader = DataLoader(data, batch_size=batch_size)
        elif isinstance(data, Dataset):
            sampler = RowBatches(batch_edges(length_of(name, data), batch_size), self._key)
            self._loader = DataLoader(data, batch_sampler=sampler)
        elif isinstance(data, Sequence) and len(data) in (2, 3):
            parts = [_tensors(f"{name}[{i}]", part, dtype) for i, part in enumerate(data) if part is not None]
            lengths = [len(leaf) if leaf.ndim else 0 for part in parts for _, leaf in leaves(part)]
            if len(set(lengths)) > 1 or not lengths or lengths[0] == 0:
                raise DataError(f"{name} must be x, y (and weight) of one length above 0, got lengths {lengths}.")
            if len(parts) == 3:
                parts = present(f"{name}[2]", parts, lengths[0])
                lengths = [len(parts[2])]
            self.rows, self._parts = lengths[0], tuple(_placed(part, device) for part in parts)
        else:
            raise DataError(
                f"{name} must be (x, y), (x, y, weight), a Dataset or a DataLoader, got {type(data).__name__}."
            )
        if self._loader is not None:
            length_of(name, self._loader)

    def __len__(self) -> int:
        """Batches per epoch."""
        # One of the two is set.
        return len(self._starts()) if self.rows is not None else len(self._loader)  # type: ignore[arg-type]

    @property
    def smallest(self) -> int | None:
        """The smallest batch to come, where that is known."""
        if self.rows is not None:
            return min(stop - start for start, stop in self._starts()) // self.ranks.count
        loader = self._loader
        return None if loader is None else smallest_of(loader)

    @property
    def targets(self) -> Tensor | None:
        """All targets, where they are one tensor in memory."""
        dataset = self._loader.dataset if self._loader is not None else None
        held = dataset.tensors if isinstance(dataset, TensorDataset) else self._parts
        if held is None or len(held) not in (2, 3):
            return None
        y = self.convert(self._batch([_cut(held[0], 0, 1), held[1]])).y  # of inputs none is needed
        return y if isinstance(y, Tensor) else None

    def epoch(self, epoch: int, *, keep_bytes: bool = False) -> Iterator[Batch]:
        """The batches of one training epoch; with ``keep_bytes`` images that are held as bytes come as bytes."""
        if self._parts is None or self.rows is None:
            self._seed_loader(epoch)
            yield from self._loaded(keep_bytes)
            return
        index = torch.randperm(self.rows, generator=generator(derive(self._key, epoch)), device="cpu")
        order = index.to(self.device, non_blocking=True)
        for start, stop in self._starts():
            first, last = self.ranks.part(start, stop)
            rows = order[first:last]
            batch = self._batch([_take(part, rows) for part in self._parts], keep_bytes)
            if self.ranks.count > 1:
                weight = self._parts[2] if len(self._parts) == 3 else None
                self.share = self.ranks.share(weight, rows, order[start:stop])
            yield self.convert(batch.replace(index=index[first:last]))

    def in_order(self, limit: int | None = None, ranks: Ranks | None = None) -> Iterator[Batch]:
        """Every row once, in the order given, as many at a time as are evaluated at once; with ``limit``, that many
        rows spread evenly; of tensors this one's part of the ``ranks``, where they are given.
        """
        ranks = ranks or Ranks()
        if self._parts is None or self.rows is None:
            if self._loader is not None and isinstance(self._loader.batch_sampler, RowBatches):
                self._loader.batch_sampler.epoch = None
            yield from self._loaded()
            return
        n, chunk = self.rows, at_once(self._parts[0], self.device)
        if limit is not None and limit < n:
            spread = torch.linspace(0, n - 1, limit, device=self.device).long()
            first, last = ranks.part(0, limit)
            for start in range(first, last, chunk):
                rows = spread[start : min(start + chunk, last)]
                yield self.convert(self._batch([_take(part, rows) for part in self._parts]))
            return
        first, last = ranks.part(0, n)
        for start in range(first, last, chunk):
            yield self.convert(self._batch([_cut(part, start, min(start + chunk, last)) for part in self._parts]))

    def first(self) -> Batch:
        """A few rows, to learn the shapes from."""
        if self._parts is not None:
            return self.convert(self._batch([_cut(part, 0, 2) for part in self._parts]))
        for batch in self._loaded():
            return batch
        raise DataError("the training data are empty: the loader gave no batch.")

    def fingerprint(self) -> str:
        """A short hash of the data, or of the number of batches where they come from a loader."""
        digest = hashlib.blake2b(digest_size=8)
        if self._parts is None:
            digest.update(f"loader of {len(self)}".encode())
        for path, part in leaves(self._parts or ()):
            if "." in path:  # the place in a structure; plain tensors have the hash that they always had
                digest.update(path.encode())
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            step = at_once(part) if isinstance(part, TensorRows) else max(len(part), 1)
            for start in range(0, len(part), step):
                some = part[start : start + step].detach().cpu().contiguous()
                digest.update(some.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _starts(self) -> list[tuple[int, int]]:
        assert self.rows is not None
        return joined(batch_edges(self.rows, self._batch_size), self.ranks.count)

    def _seed_loader(self, epoch: int) -> None:
        """A loader's own generator and sampler, too, depend on seed and epoch only, so that a resumed run sees the
        order of the first.
        """
        assert self._loader is not None
        sampler = self._loader.sampler
        if callable(set_epoch := getattr(self._loader.dataset, "set_epoch", None)):
            set_epoch(epoch)  # of a Dataset that augments
        if isinstance(self._loader.batch_sampler, RowBatches):
            self._loader.batch_sampler.epoch = epoch
            return
        for own in {
            id(g): g for g in (self._loader.generator, getattr(sampler, "generator", None)) if g is not None
        }.values():
            own.manual_seed(derive(self._key, epoch) >> 1)
        if callable(set_epoch := getattr(sampler, "set_epoch", None)):
            set_epoch(epoch)

    def _loaded(self, keep_bytes: bool = False) -> Iterator[Batch]:
        assert self._loader is not None
        for item in self._loader:
            if isinstance(item, Batch):
                batch = item.to(self.device, non_blocking=True)
            elif not isinstance(item, Sequence) or isinstance(item, str) or len(item) not in (2, 3):
                raise DataError("a loader must give (x, y) or (x, y, weight) batches, or whole ones (dashpot.Batch).")
            else:
                batch = self._batch([moved(part, self.device, non_blocking=True) for part in item], keep_bytes)
            found = batch if batch.weight is None else _counted(batch, batch.weight)
            if found is not None:
                yield self.convert(found)

    def _batch(self, parts: Sequence[Any], keep_bytes: bool = False) -> Batch:
        x, y, *weight = parts
        if isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex() or y.dtype == torch.long):
            y = y.long()  # classes of any whole type, and of bool
        return Batch(unit_range(x) if self.pixels and not keep_bytes else x, y, y, weight[0] if weight else None)

    def whole(self) -> tuple[Any, ...]:
        """All inputs and targets, and weights where there are any, as batches have them; images that are held as bytes
        become numbers where they are read (:class:`UnitRows`), a few at a time.

        Raises:
            DataError: they are no tensors.
        """
        held, first = self._parts[0] if self._parts is not None else None, self.first().x
        bytes_held = self.pixels and isinstance(held, Tensor | TensorRows) and held.dtype == torch.uint8
        lazy = bytes_held and isinstance(first, Tensor) and (first.dtype, first.device.type) == (torch.float32, "cpu")
        batches = [batch.replace(x=first[:0]) if lazy else batch for batch in self.in_order()]
        if not all(isinstance(part, Tensor) for batch in batches for part in (batch.x, batch.truth)):
            raise DataError("a relative strength needs inputs and targets that are one tensor each. Give strength=.")
        x: Any = torch.cat([batch.x for batch in batches])
        if lazy:
            assert held is not None, "bytes are in memory"
            own = isinstance(held, TensorRows)
            x = UnitRows(held.tensor, held.rows) if own else UnitRows(held, torch.arange(len(held), device="cpu"))
        found = x, torch.cat([batch.truth for batch in batches])
        weights = [batch.weight for batch in batches if batch.weight is not None]
        return (*found, torch.cat(weights)) if weights else found


def batch_edges(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end; a last batch of one row joins the one before."""
    edges = [*range(0, rows, batch_size), rows]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return list(itertools.pairwise(edges))


def _counted(batch: Batch, weight: Tensor) -> Batch | None:
    """A loader's batch without the rows of weight 0, which then take no part in batch statistics either; None where no
    row is left.

    Raises:
        DataError: weights that are none.
    """
    if weight.ndim != 1 or not bool((weight.isfinite() & (weight >= 0)).all()):
        raise DataError(f"the weights of a loader's batch must be finite numbers >= 0 [batch], got {told(weight)}.")
    kept = weight.nonzero()[:, 0]
    parts = {name: getattr(batch, name) for name in ("x", "y", "truth", "mask")}
    held = [leaf for part in parts.values() for _, leaf in leaves(part) if leaf is not None]
    by_row = all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == len(weight) for leaf in held)
    if len(kept) == len(weight) or not by_row:
        return batch  # rows of a structure of its own cannot be taken out; their loss does not count
    if not len(kept):
        return None
    found = {name: _take(part, kept) for name, part in parts.items()}
    return Batch(**found, weight=weight[kept])


def _placed(part: Any, device: torch.device) -> Any:
    return part.on(device) if isinstance(part, TensorRows) else moved(part, device)


def _take(part: Any, rows: Tensor) -> Any:
    if isinstance(part, TensorRows):
        return part[rows]
    return map_tensors(lambda tensor: tensor.index_select(0, rows), part)


def _cut(part: Any, start: int, stop: int) -> Any:
    return part[start:stop] if isinstance(part, TensorRows) else map_tensors(lambda t: t[start:stop], part)


def _tensors(name: str, part: Any, dtype: torch.dtype) -> Any:
    """Tensors of a tensor, an array or a frame, or of a dict or tuple of such; rows of a tensor stay what they are."""
    if isinstance(part, TensorRows):
        return part
    if isinstance(part, Mapping):
        return {key: _tensors(f"{name}[{key!r}]", value, dtype) for key, value in part.items()}
    if isinstance(part, tuple) and any(
        isinstance(value, Mapping | tuple) or getattr(value, "ndim", 0) for value in part
    ):
        return tuple(_tensors(f"{name}[{i}]", value, dtype) for i, value in enumerate(part))
    return as_tensor(name, part, dtype)
