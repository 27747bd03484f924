"""How many members a stack may have, and what the machine does fast."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import itertools
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dashpot.core.running.modes import evaluating

ELEMENTS = 1 << 18
"""Members x batch x width of a stack on a CPU where autograd works on all members at once: what fits into caches."""
MOST = 64
"""Members of a stack at most on a CPU; beyond, calls cost nothing any more."""

WIDE = 1024
"""From this width on, products are nearly all that a step costs: members gain nothing by autograd on all at once,
unless products are in bfloat16.
"""
GRADIENTS = 1 << 26
"""Members x weights of a stack at most on a CPU: 256 MB."""


def even(numbers: Sequence[int], size: int) -> list[list[int]]:
    """In as few parts of at most ``size`` as do, of about equal length: a last one of two members would waste what
    stacking saves.

    >>> even([1, 2, 3, 4, 5], 4)
    [[1, 2, 3], [4, 5]]
    """
    parts = -(-len(numbers) // size)
    cuts = [round(k * len(numbers) / parts + 1e-9) for k in range(parts + 1)] if parts else []
    return [list(numbers[a:b]) for a, b in itertools.pairwise(cuts)]


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory is short; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


@torch.no_grad()
def widest(model: nn.Module, x: Tensor) -> int:
    """The largest activation of one row, in values."""
    sizes = [x[0].numel()]
    hooks = [
        m.register_forward_hook(
            lambda module, args, out: sizes.append(out[0].numel()) if isinstance(out, Tensor) and len(out) else None
        )
        for m in model.modules()
    ]
    try:
        with evaluating(model):
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are done by the hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@functools.cache
def keep_memory() -> None:
    """Ask the C library to keep freed blocks: by default glibc hands large ones back to the system, and every
    activation costs page faults again.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        library.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        return


def return_memory() -> None:
    """Give the system what :func:`keep_memory` has kept, after networks that will not be used again."""
    gc.collect()  # networks and their sessions refer to each other
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
