"""The random numbers of a batch of images: each sample's own, and the same bits wherever the batch is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import hashed_at, uniform_by
from dashpot.core.errors import UsageError
from dashpot.core.rng import derive_all, mix


@dataclass(frozen=True)
class Size:
    """The shape of a batch of images, [n, channels, height, width]."""

    n: int
    channels: int
    height: int
    width: int


class SampleDraws:
    """The random numbers of one technique for one batch: hashes of a key and the sample's place, so that they are the
    same bits on a CPU and a GPU, alone and in a stack, whatever type and memory format the images have. Each call draws
    afresh.

    Args:
        key: of the technique at this step, 64 bits.
        n: samples.
        own: the key of the technique, the same at every step; for :meth:`fixed`.
        index: the place of each sample in the training data, int64 [n], where it is known; for :meth:`fixed`.
        epoch: epochs completed.

    Example:
        >>> SampleDraws(3, 2).uniform(2).shape
        torch.Size([2, 2])
        >>> bool((SampleDraws(3, 2).uniform(2) == SampleDraws(3, 4).uniform(2)[:2]).all())
        True
    """

    def __init__(self, key: int, n: int, *, own: int = 0, index: Tensor | None = None, epoch: int = 0) -> None:
        self.key, self.n, self.own, self.index, self.epoch = key, n, own, index, epoch
        self._calls = 0

    def next_key(self) -> int:
        """The key of one further draw, for kernels that hash by themselves."""
        self._calls += 1
        return mix(self.key, self._calls)

    def image_keys(self) -> np.ndarray:
        """A key for each image, uint64 [n], of one further draw."""
        return derive_all(np.full(self.n, self.next_key(), dtype=np.uint64), np.arange(self.n, dtype=np.uint64))

    def uniform(self, k: int = 1) -> Tensor:
        """float32 in [0, 1), [n, k], on the CPU."""
        return uniform_by([self.next_key()], self.n * k).view(self.n, k)

    def uniforms(self, k: int = 1) -> np.ndarray:
        """:meth:`uniform` as k rows of NumPy float64, [k, n]: for parameters, which are few."""
        return self.uniform(k).numpy().T.astype(np.float64)

    def chosen(self, p: float) -> np.ndarray:
        """Which samples an operation of probability ``p`` acts on, bool [n]."""
        if p >= 1:  # all of them, whatever would be drawn
            self._calls += 1
            return np.ones(self.n, dtype=bool)
        drawn: np.ndarray = self.uniform(1).numpy()[:, 0] < p
        return drawn

    def normal(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Standard normal, float32, by Box and Muller's formula from two hashes of each position."""
        count = math.prod(shape)
        u, v = (uniform_by([self.next_key()], count, device) for _ in range(2))
        radius = torch.sqrt(-2 * torch.log1p(-u))
        return (radius * torch.cos(v * (2 * math.pi))).view(tuple(shape))

    def fixed(self, technique: str) -> np.ndarray:
        """float32 in [0, 1) [n] that belongs to the sample, not to the step: the same in every epoch.

        Args:
            technique: who asks, for the error.

        Raises:
            UsageError: the loop does not say which samples a batch holds.
        """
        if self.index is None or len(self.index) != self.n:
            raise UsageError(
                f"{technique} needs to know which samples a batch holds. Call session.batch(x, y, index=rows) with the"
                " place of each sample in the training data; dashpot.fit does so for arrays and tensors, not for"
                " datasets and loaders."
            )
        return hashed_at(self.own, self.index.cpu()).numpy()


class KeyedDraws(SampleDraws):
    """The draws of several batches of one image each, side by side: each image has a key, and what it is given is what
    ``SampleDraws(key, 1)`` gives.

    Args:
        keys: of the images, uint64 [n].
        own, index, epoch: as for :class:`SampleDraws`.

    Example:
        >>> keys = np.array([3, 8], dtype=np.uint64)
        >>> bool((KeyedDraws(keys).uniform(2)[1] == SampleDraws(8, 1).uniform(2)[0]).all())
        True
    """

    def __init__(self, keys: np.ndarray, *, own: int = 0, index: Tensor | None = None, epoch: int = 0) -> None:
        super().__init__(own, len(keys), own=own, index=index, epoch=epoch)
        self._keys = keys

    def _next_keys(self) -> np.ndarray:
        self._calls += 1
        return derive_all(self._keys, self._calls)

    def image_keys(self) -> np.ndarray:
        return derive_all(self._next_keys(), 0)

    def uniform(self, k: int = 1) -> Tensor:
        return uniform_by(self._next_keys(), k).view(self.n, k)

    def normal(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        count = math.prod(shape[1:])
        u, v = (uniform_by(self._next_keys(), count, device) for _ in range(2))
        radius = torch.sqrt(-2 * torch.log1p(-u))
        return (radius * torch.cos(v * (2 * math.pi))).view(tuple(shape))
