"""Randomness that is a function of (seed, technique, optimizer step, micro-batch, rank) and of nothing else.

No state is kept, so none has to be saved: a resumed run draws what the first one would have drawn, and adding a
technique never shifts the draws of another. Draws are made outside the pure functions and passed in.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import SIDE_BY_SIDE, beta_by, kernel, permutation_by, uniform_by

_MASK = (1 << 64) - 1


def mix(key: int, value: int) -> int:
    """Fold ``value`` into a 64-bit ``key`` (the finalizer of SplitMix64; every bit of both reaches every bit of the
    result).
    """
    z = (key ^ (value & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


def stream(seed: int, path: str) -> int:
    """The key of one random stream: the seed and the technique's path in the recipe."""
    return mix(int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "big"), seed)


def derive(key: int, *counters: int) -> int:
    """The key at some step, micro-batch and rank."""
    for counter in counters:
        key = mix(key, counter)
    return key


def derive_all(keys: np.ndarray, *counters: int | np.ndarray) -> np.ndarray:
    """:func:`derive` for many keys (uint64) at once; counters may be arrays (uint64) beside them.

    >>> int(derive_all(np.array([7], dtype=np.uint64), 3)[0]) == derive(7, 3)
    True
    """
    whole = [counter for counter in counters if isinstance(counter, int)]
    if keys.shape == (1,) and len(whole) == len(counters):
        return np.array([derive(int(keys[0]), *whole)], dtype=np.uint64)  # a tenth of the time of arrays
    for counter in counters:
        z = (keys ^ np.uint64(counter & _MASK)) + np.uint64(
            0x9E3779B97F4A7C15
        )  # products and sums of arrays wrap around
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = z ^ (z >> np.uint64(31))
    return keys


@contextlib.contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Networks that are built inside get initial weights that depend on ``seed`` only; torch's own random state is
    untouched.

    >>> def built():
    ...     with initial_weights(3):
    ...         return torch.nn.Linear(2, 1).weight
    >>> bool((built() == built()).all())
    True
    """
    with seeded(stream(seed, "weights") >> 1):
        yield


def generator(key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for ``key``. torch's CPU engine reads the low 32 bits of a seed, CUDA's all 64."""
    return torch.Generator(device=device).manual_seed(key & (_MASK >> 1))


def seed_global(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``, and no other's: ``torch.manual_seed`` seeds those of
    every GPU, and a caller who trains on one, or on the CPU, would find the others' changed.
    """
    if device.type in ("cpu", "cuda", "meta"):
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """torch's global random state set by ``seed`` (left as it is where that is None), and put back afterwards.

    Of GPUs only the current one is seeded, and only where some code has used it already: to wake them takes seconds and
    memory, and a forked process cannot.
    """
    if torch.accelerator.is_available() and not torch.cuda.is_available():
        with torch.random.fork_rng():
            if seed is not None:
                torch.manual_seed(seed)
            yield
        return
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch has no types here
    devices = [torch.cuda.current_device()] if begun else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            for _ in devices:
                torch.cuda.manual_seed(seed)
        yield


class Draws:
    """The random draws of one technique at one moment; each call draws afresh."""

    def __init__(self, key: int) -> None:
        self.key = key
        self._calls = 0

    def _next(self) -> int:
        self._calls += 1
        return mix(self.key, self._calls)

    def keys(self, count: int) -> list[int]:
        """The keys of the next ``count`` draws, for code that draws for many members at once."""
        return [self._next() for _ in range(count)]

    def uniform(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """float32 in [0, 1)."""
        return torch.rand(tuple(shape), generator=generator(self._next(), device), device=device, dtype=torch.float32)

    def normal(
        self, shape: Sequence[int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal."""
        return torch.randn(tuple(shape), generator=generator(self._next(), device), device=device, dtype=dtype)

    def permutation(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """A permutation of 0..n-1, drawn on the CPU so that every device sees the same one."""
        return permutation_by([self._next()], n)[0].to(device, non_blocking=True)

    def beta(self, alpha: float, n: int, device: torch.device | str = "cpu") -> Tensor:
        """``n`` draws of Beta(alpha, alpha), float32; all 1 at alpha = 0, the limit that leaves the first of a pair
        alone.
        """
        key = self._next()
        if alpha == 0:
            return torch.ones(n, dtype=torch.float32, device=device)
        return beta_by([key], [alpha], n)[0].to(device, non_blocking=True)


def normal_of(uniform: Tensor) -> Tensor:
    """Standard normal numbers of multiples of 2^-24 in [0, 1), as draws by hash are: finite and symmetric.

    >>> normal_of(torch.tensor([0.0, 1 - 2.0**-24])).round(decimals=1)
    tensor([-5.4000,  5.4000])
    """
    # The middle of each of the 2^24 intervals; as 2 u - 1 + 2^-24 it is exact in float32.
    return torch.erfinv(2 * uniform - 1 + 2.0**-24) * 2**0.5


def uniform_at(key: int, clock: Tensor, size: Sequence[int], device: torch.device) -> Tensor:
    """float32 in [0, 1) for ``key`` at the moment that ``clock`` (int64 [2]: optimizer step, call) shows.

    The same bits in eager and in compiled code, where it is an opaque operator, since the clock is read as a number.
    """
    if torch.compiler.is_compiling():
        draws: Tensor = _uniform_op(clock, key - (1 << 63), list(size), device)
        return draws
    return _uniform(clock, key, size, device)


def kept_at(key: int, clock: Tensor, size: Sequence[int], rate: Tensor) -> Tensor | None:
    """What dropout multiplies with, float32 on the CPU, in one pass and without the numbers in memory: 0 where
    :func:`uniform_at` is below ``rate`` (float32, 0-d, on the CPU), else 1 / (1 - rate). None where C++ cannot, and in
    compiled code.
    """
    if torch.compiler.is_compiling() or (library := kernel()) is None:
        return None
    out = torch.empty(tuple(size), dtype=torch.float32, device="cpu")
    n = out.numel()
    threads = torch.get_num_threads() if n >= SIDE_BY_SIDE else 1
    library.dashpot_kept(key, clock.data_ptr(), rate.data_ptr(), n, out.data_ptr(), threads)
    return out


def _uniform(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    step, call = clock.tolist()
    return uniform_by([derive(key, step, call)], math.prod(size), device).reshape(tuple(size))


@torch.library.custom_op("dashpot::uniform", mutates_args=())
def _uniform_op(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    # Operators take signed 64-bit integers, keys are unsigned: the caller shifts, this shifts back.
    return _uniform(clock, key + (1 << 63), size, device)


@_uniform_op.register_fake
def _(clock: Tensor, key: int, size: Sequence[int], device: torch.device) -> Tensor:
    return torch.empty(tuple(size), dtype=torch.float32, device=device)
