"""Memory for batches of images, used again: the system hands out large blocks page by page, which takes several times
as long as what is done to the pixels.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEAST, MOST = 1 << 18, 4
"""Bytes from which blocks are kept, and how many: smaller ones the allocator keeps by itself."""
_blocks: list[np.ndarray] = []
_lock = threading.Lock()
_ALIGNED = 64
_NUMPY = {torch.uint8: np.uint8, torch.float32: np.float32}


def empty(shape: Sequence[int], dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    """A tensor [n, c, h, w] on the CPU with anything in it. Large ones lie in one of the last few blocks that no tensor
    uses any more.
    """
    n, c, h, w = shape
    count = math.prod(shape) * dtype.itemsize
    memory = torch.channels_last if channels_last else torch.contiguous_format
    if count < LEAST:
        return torch.empty(n, c, h, w, dtype=dtype, device="cpu", memory_format=memory)
    with _lock:
        block = _block(count + _ALIGNED)
        start = -block.__array_interface__["data"][0] % _ALIGNED
        if dtype in _NUMPY:  # NumPy's views take a fraction of torch's time
            form = (n, h, w, c) if channels_last else (n, c, h, w)
            pixels: np.ndarray = np.ndarray(form, _NUMPY[dtype], block, start)
            return torch.from_numpy(pixels.transpose(0, 3, 1, 2) if channels_last else pixels)
        flat = torch.from_numpy(block[start : start + count]).view(dtype)
    return flat.view(n, h, w, c).permute(0, 3, 1, 2) if channels_last else flat.view(n, c, h, w)


def _block(count: int) -> np.ndarray:
    """Of at least ``count`` bytes: one that only the list knows of, else a new one."""
    free = [k for k in range(len(_blocks)) if sys.getrefcount(_blocks[k]) == _ALONE]
    for k in free:
        # A tensor refers to its block for as long as it, a view of it or a graph has its storage.
        if count <= len(_blocks[k]) <= 2 * count:
            return _blocks[k]
    while len(_blocks) >= MOST:
        _blocks.pop(free.pop() if free else 0)
    _blocks.append(np.empty(count, dtype=np.uint8))
    return _blocks[-1]


def _alone() -> int:
    """What ``sys.getrefcount`` says of an array that only a list knows of."""
    known = [np.empty(1, dtype=np.uint8)]
    return sys.getrefcount(known[0])


_ALONE = _alone()
