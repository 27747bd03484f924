"""The features of rows, remembered: counting them anew in each epoch takes longer than to learn from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

MOST = 6_000_000
"""Features that are remembered together: 48 megabytes, 60,000 sentences or 15,000 articles."""

Bags = tuple[Tensor, Tensor, Tensor]
"""Ids int64 [k], where those of each row start, int64 [rows], and weights [k]."""


class Remembered:
    """Features by the content of a row. What is full begins anew: augmented rows do not come again."""

    def __init__(self, most: int = MOST) -> None:
        self.most, self.held = most, 0
        self._found: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def bags(self, x: Tensor, count: Callable[[Tensor], Bags]) -> Bags:
        """What ``count`` says of the rows ``x`` [rows, length], which is asked only for rows that are new to it."""
        rows = np.ascontiguousarray(x.to(torch.int32).numpy())
        # Zeros behind a row say nothing: batches are cut to their longest text.
        keys = [blake2b(row.tobytes().rstrip(b"\0"), digest_size=16).digest() for row in rows]
        found = {key: self._found.get(key) for key in keys}
        new = {key: i for i, key in enumerate(keys) if found[key] is None}
        if new:
            found |= self._learn(list(new), count(x[list(new.values())]))
        every = [parts for key in keys if (parts := found[key]) is not None]
        sizes = np.array([len(ids) for ids, _ in every], dtype=np.int64)
        ids = np.concatenate([ids for ids, _ in every]).astype(np.int64)
        weights = np.concatenate([weights for _, weights in every])
        return torch.from_numpy(ids), torch.from_numpy(np.cumsum(sizes) - sizes), torch.from_numpy(weights)

    def _learn(self, keys: Sequence[bytes], bags: Bags) -> dict[bytes, tuple[np.ndarray, np.ndarray]]:
        ids, starts, weights = (part.numpy() for part in bags)
        ends = [*starts[1:].tolist(), len(ids)]
        parts = [(ids[a:b].astype(np.int32), weights[a:b].copy()) for a, b in zip(starts.tolist(), ends, strict=True)]
        learned = dict(zip(keys, parts, strict=True))
        if self.held + len(ids) > self.most:
            self._found, self.held = {}, 0
        if len(ids) <= self.most:
            self._found |= learned
            self.held += len(ids)
        return learned


_SHARED: WeakValueDictionary[bytes, Remembered] = WeakValueDictionary()
"""By the content of the tables, so that the networks of a search remember together."""


class Memory:
    """What a network remembers as long as its tables stay the same; shared by networks with the same tables, neither
    copied nor saved with them.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, int]] = []
        self._remembered: Remembered | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Memory:
        return Memory()

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()

    def of(self, tables: Sequence[Tensor]) -> Remembered | None:
        """For these tables; None where they are not in the CPU's memory, or of a kind that NumPy has not."""
        if any(t.device.type != "cpu" or t.dtype is torch.bfloat16 or t.is_inference() for t in tables):
            return None
        same = len(self._seen) == len(tables) and all(
            t is own and t._version == version for t, (own, version) in zip(tables, self._seen, strict=True)
        )
        if not same or self._remembered is None:
            name = blake2b(digest_size=16)
            for table in tables:
                name.update(f"{table.dtype} {list(table.shape)} ".encode())
                name.update(table.detach().numpy().tobytes())
            self._remembered = _SHARED.setdefault(name.digest(), Remembered())
            self._seen = [(table, table._version) for table in tables]
        return self._remembered
