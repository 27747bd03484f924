"""Uniform numbers that are a hash of (key, index): the same bits in eager and compiled code, in C++ and in torch, on
any device, alone or side by side.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core import native

SIDE_BY_SIDE = 1 << 16
"""So many numbers are worth a second thread."""


@functools.cache
def kernel() -> Any:
    """The C++ twin of :func:`_hashed`, or None."""
    found = native.library(Path(__file__).with_name("draws.cpp"))
    if found is not None:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        found.dashpot_uniform.argtypes = [pointer, size, size, pointer]
        found.dashpot_permutation.argtypes = [pointer, size, size, pointer]
        found.dashpot_beta.argtypes = [pointer, pointer, size, size, pointer]
        found.dashpot_pairs.argtypes = [pointer] * 4 + [size] * 2 + [pointer] * 3
        found.dashpot_within.argtypes, found.dashpot_within.restype = [pointer, size, size], ctypes.c_int
        found.dashpot_dropout.argtypes = [pointer, pointer, pointer, size, size, pointer, pointer]
        found.dashpot_kept.argtypes = [ctypes.c_uint64, pointer, pointer, size, pointer, ctypes.c_int]
        found.dashpot_kept.restype = None
        word, number = ctypes.c_int64, ctypes.c_float
        found.dashpot_drop_at.argtypes = [ctypes.c_uint64, word, word, number, size, pointer, pointer, ctypes.c_int]
        found.dashpot_drop_at.restype = None
        for name in ("dashpot_mix", "dashpot_mix_classes"):
            getattr(found, name).argtypes = [size] * 3 + [pointer] * 4
            getattr(found, name).restype = None
    return found


def uniform_by(keys: Sequence[int] | np.ndarray, n: int, device: torch.device | str = "cpu") -> Tensor:
    """float32 in [0, 1) [keys, n]: row k depends on key k (64 bits) and the position only, and a shorter row is the
    start of a longer one.
    """
    words = np.array(keys, dtype=np.uint64)
    if torch.device(device).type == "cpu" and (library := kernel()) is not None:
        out = torch.empty(len(words), n, dtype=torch.float32, device="cpu")
        library.dashpot_uniform(words.ctypes.data, len(words), n, out.data_ptr())
        return out
    halves = words.view(np.int32).reshape(-1, 2)
    if len(words) == 1:  # two numbers in the call, where a copy to a GPU would wait for all that it has to do
        return _hashed(int(halves[0, 0]), int(halves[0, 1]), torch.arange(n, dtype=torch.int32, device=device)[None])
    pairs = torch.from_numpy(halves.copy()).to(device, non_blocking=True)
    return _hashed(pairs[:, :1], pairs[:, 1:], torch.arange(n, dtype=torch.int32, device=device))


def hashed_at(key: int, index: Tensor) -> Tensor:
    """float32 in [0, 1) at each position of ``index`` (whole numbers below 2^31): what :func:`uniform_by` has there.

    >>> bool((hashed_at(7, torch.tensor([4, 2])) == uniform_by([7], 5)[0, [4, 2]]).all())
    True
    """
    low, high = np.array([key], dtype=np.uint64).view(np.int32)
    return _hashed(int(low), int(high), index.to(torch.int32))


def hashed_each(keys: np.ndarray, index: np.ndarray) -> np.ndarray:
    """float32 in [0, 1), one for each pair of a key (uint64) and a position: what :func:`uniform_by` has there.

    >>> bool(hashed_each(np.array([7], dtype=np.uint64), np.array([2]))[0] == uniform_by([7], 3)[0, 2])
    True
    """
    halves = torch.from_numpy(np.ascontiguousarray(keys).view(np.int32).reshape(-1, 2))
    return _hashed(halves[:, 0], halves[:, 1], torch.from_numpy(index.astype(np.int32))).numpy()


def permutation_by(keys: Sequence[int] | np.ndarray, n: int) -> Tensor:
    """For each key a permutation of 0..n-1, int64 [keys, n]: the order of its uniform numbers, on the CPU."""
    if (library := kernel()) is not None:
        words, out = np.array(keys, dtype=np.uint64), torch.empty(len(keys), n, dtype=torch.int64, device="cpu")
        library.dashpot_permutation(words.ctypes.data, len(words), n, out.data_ptr())
        return out
    return torch.argsort(uniform_by(keys, n), dim=1, stable=True)


def beta_by(keys: Sequence[int] | np.ndarray, shapes: Sequence[float] | np.ndarray, n: int) -> Tensor:
    """Draws of Beta(a, a), float32 [keys, n], a > 0 for each key, on the CPU.

    By rejection: for a <= 1 Jöhnk's method, in logarithms so that powers do not underflow however small a is (Jöhnk
    1964); above, Cheng's BB (1978), of whose trials about 80 % are accepted. The two halves of a trial are hashed under
    the key and under its complement.
    """
    words, a = np.array(keys, dtype=np.uint64), np.array(shapes, dtype=np.float64)
    if (library := kernel()) is not None:
        out = torch.empty(len(words), n, dtype=torch.float32, device="cpu")
        library.dashpot_beta(words.ctypes.data, a.ctypes.data, len(words), n, out.data_ptr())
        return out
    share = np.full((len(words), n), np.nan)
    for trial in range(1000):
        left = np.isnan(share)
        if not left.any():
            break
        u, v = (
            (
                uniform_by([int(w) ^ flip for w in words], (trial + 1) * n)[:, trial * n :].numpy().astype(np.float64)
                + 2.0**-25
            )[left]
            for flip in (0, (1 << 64) - 1)
        )
        share[left] = _beta_trial(u, v, np.broadcast_to(a[:, None], share.shape)[left])
    return torch.from_numpy(np.nan_to_num(share, nan=0.5).astype(np.float32))


def pairs_by(
    keys: np.ndarray, shapes: np.ndarray, chances: np.ndarray | None, streams: np.ndarray, n: int, *, centres: bool
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """What is drawn to mix each of ``n`` samples with another one, in one call: what :func:`beta_by`,
    :func:`uniform_by` and :func:`permutation_by` draw under the keys with each stream's number folded in. None where
    C++ cannot.

    Args:
        keys: uint64 [keys].
        shapes: of the Beta distributions, float64 [keys], above 0.
        chances: that a sample is mixed, float64 [keys]; None: all are.
        streams: numbers of the streams of shares, chances, partners and centres, uint64 [4].
        centres: whether they are drawn.

    Returns:
        Shares, 1 of samples that are not chosen, float32 [keys, n]; places of the partners, int64 [keys, n]; centres,
        float32 [keys, n, 2], or None.
    """
    if (library := kernel()) is None:
        return None
    sets = len(keys)
    chance = np.ones(sets, dtype=np.float32) if chances is None else chances.astype(np.float32)
    share = np.empty((sets, n), dtype=np.float32)
    order = np.empty((sets, n), dtype=np.int64)
    places = np.empty((sets, n, 2), dtype=np.float32) if centres else None
    arrays = (keys, shapes, chance, streams)
    outs = (share, order, places)
    library.dashpot_pairs(*map(_address, arrays), sets, n, *map(_address, outs))
    return torch.from_numpy(share), torch.from_numpy(order), None if places is None else torch.from_numpy(places)


def _address(array: np.ndarray | None) -> int | None:
    """Of its first number; NumPy's ``ctypes`` takes five times as long."""
    return None if array is None else int(array.__array_interface__["data"][0])


def within(numbers: Tensor, count: int) -> bool:
    """Whether whole numbers (int64 [n], contiguous, on the CPU) are all from 0 to ``count`` - 1; only where there is a
    :func:`kernel`.
    """
    return bool(kernel().dashpot_within(numbers.data_ptr(), len(numbers), count))


def dropped_by(x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor | None:
    """``x`` [keys, ...] with zeros where the uniform numbers of row k are below ``rates[k]`` (float32), and the rest
    times 1 / (1 - rate): without a mask in memory, since the backward pass hashes it again. None where C++ cannot.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or kernel() is None:
        return None
    result: Tensor = _Dropped.apply(x.contiguous(), keys, rates)  # type: ignore[no-untyped-call]  # torch has no types
    return result


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        ctx.plan = keys, rates, np.float32(1) / np.maximum(np.float32(1) - rates, np.finfo(np.float32).tiny)
        return _drop(x, *ctx.plan)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _drop(grads[0].contiguous(), *ctx.plan), None, None


def dropped_at(x: Tensor, key: int, step: int, call: int, rate: float) -> Tensor | None:
    """``x`` with zeros where the uniform numbers of a key at a step and call are below ``rate`` (a float32 number), and
    the rest times 1 / (1 - rate): without a mask in memory, and with gradients of any order. None where C++ cannot, or
    inside a transformation of ``torch.func``.
    """
    if (
        x.device.type != "cpu"
        or x.dtype != torch.float32
        or not x.is_contiguous()
        or torch._C._are_functorch_transforms_active()
        or kernel() is None
    ):
        return None
    result: Tensor = _DroppedAt.apply(x, (key, step, call, rate))  # type: ignore[no-untyped-call]  # no types
    return result


class _DroppedAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, now: tuple[int, int, int, float]) -> Tensor:
        ctx.now, out, n = now, torch.empty_like(x), x.numel()
        threads = torch.get_num_threads() if n >= SIDE_BY_SIDE else 1
        kernel().dashpot_drop_at(*now, n, x.data_ptr(), out.data_ptr(), threads)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        # It is linear: its gradient is itself, of the gradient.
        return _DroppedAt.apply(grads[0].contiguous(), ctx.now), None  # type: ignore[no-untyped-call]  # no types


def _drop(x: Tensor, keys: np.ndarray, rates: np.ndarray, scales: np.ndarray) -> Tensor:
    out = torch.empty_like(x)
    pointers = (keys.ctypes.data, rates.ctypes.data, scales.ctypes.data)
    kernel().dashpot_dropout(*pointers, len(x), x[0].numel(), x.data_ptr(), out.data_ptr())
    return out


def _beta_trial(u: np.ndarray, v: np.ndarray, a: np.ndarray) -> np.ndarray:
    """A draw for each pair of uniform numbers, or NaN where it is rejected."""
    x, y = np.log(u) / a, np.log(v) / a
    total = np.logaddexp(x, y)
    small = np.where(total <= 0, np.exp(np.minimum(x - total, 0)), np.nan)
    wide = np.maximum(a, 1 + 1e-9)
    slope = np.sqrt((2 * wide - 2) / (2 * wide * wide - 2 * wide))
    z = slope * np.log(u / (1 - u))
    w = wide * np.exp(np.minimum(z, 700))
    accepted = (wide + 1 / slope) * z - np.log(4.0) + 2 * wide * np.log(2 * wide / (wide + w)) >= np.log(u * u * v)
    return np.where(a <= 1, small, np.where(accepted, w / (wide + w), np.nan))


def _hashed(low: Tensor | int, high: Tensor | int, index: Tensor) -> Tensor:
    """From the low and the high half of each key, int32 [keys, 1] or one number, and positions, int32."""
    h = index * _signed(0x9E3779B1) + low
    h = _scramble(_scramble(h) ^ high)
    return ((h >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def _scramble(h: Tensor) -> Tensor:
    # torch shifts signed integers with their sign: the mask takes it away. Products wrap around.
    h = h ^ ((h >> 16) & 0xFFFF)
    h = h * _signed(0x21F0AAAD)
    h = h ^ ((h >> 15) & 0x1FFFF)
    h = h * _signed(0xD35A2D97)
    return h ^ ((h >> 15) & 0x1FFFF)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
