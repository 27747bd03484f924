"""Randomness that is a function of (seed, who asks, optimizer step, micro-batch, rank) and of nothing else.

No state is kept, so none has to be saved: a resumed run draws what the first one would have drawn, and adding a technique
never shifts the draws of another. Draws are made outside the pure functions and passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy

_MASK = (1 << 64) - 1


def mix(key: int, value: int) -> int:
    """Fold ``value`` into a 64-bit ``key`` (the finalizer of SplitMix64; every bit of both reaches every bit of the result)."""
    z = (key ^ (value & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


def stream(seed: int, path: str) -> int:
    """The key of one asker: its seed and its path in the recipe."""
    return mix(int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big"), seed)


def derive(key: int, *counters: int) -> int:
    """The key at some step, micro-batch and rank."""
    for counter in counters:
        key = mix(key, counter)
    return key


def generator(key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for ``key``. torch's CPU engine reads the low 32 bits of a seed, CUDA's all 64."""
    return torch.Generator(device=device).manual_seed(key & (_MASK >> 1))


class Draws:
    """The random draws of one technique at one moment; each call draws afresh."""

    def __init__(self, key: int) -> None:
        self.key = key
        self._calls = 0

    def _next(self) -> int:
        self._calls += 1
        return mix(self.key, self._calls)

    def uniform(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """float32 in [0, 1)."""
        return torch.rand(tuple(shape), generator=generator(self._next(), device), device=device)

    def normal(self, shape: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal."""
        return torch.randn(tuple(shape), generator=generator(self._next(), device), device=device, dtype=dtype)

    def permutation(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """A permutation of 0..n-1, drawn on the CPU so that every device sees the same one."""
        order = torch.randperm(n, generator=generator(self._next()))
        return order.to(device)

    def beta(self, alpha: float, n: int, device: torch.device | str = "cpu") -> Tensor:
        """``n`` draws of Beta(alpha, alpha), float32; all 1 at alpha = 0, the limit that leaves the first of a pair alone."""
        key = self._next()
        if alpha == 0:
            return torch.ones(n, device=device)
        return torch.from_numpy(self._numpy(key).beta(alpha, alpha, n)).to(device=device, dtype=torch.float32)

    @staticmethod
    def _numpy(key: int) -> numpy.random.Generator:
        # numpy's beta stays exact where alpha is so small that gamma draws underflow; torch has no Beta that takes a generator.
        import numpy

        return numpy.random.Generator(numpy.random.Philox(key=key))


def uniform_at(key: int, clock: Tensor, size: Sequence[int], device: torch.device) -> Tensor:
    """float32 in [0, 1) for ``key`` at the moment that ``clock`` (int64 [2]: optimizer step, call) shows.

    The same bits in eager and in compiled code: there it is an opaque operator, because a generator inside a graph breaks it.
    """
    if torch.compiler.is_compiling():
        draws: Tensor = _uniform_op(clock, key - (1 << 63), list(size), device)
        return draws
    return _uniform(clock, key, size, device)


def _uniform(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    step, call = clock.tolist()
    return torch.rand(tuple(size), generator=generator(derive(key, step, call), device), device=device)


@torch.library.custom_op("dashpot::uniform", mutates_args=())
def _uniform_op(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    # Operators take signed 64-bit integers, keys are unsigned: the caller shifts, this shifts back.
    return _uniform(clock, key + (1 << 63), size, device)


@_uniform_op.register_fake
def _(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    return torch.empty(tuple(size), device=device)
