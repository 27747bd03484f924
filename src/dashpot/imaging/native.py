"""The C++ kernel of warps, for bytes and float32 on the CPU."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core import native
from dashpot.imaging import buffers

SOURCE = Path(__file__).with_name("warp.cpp")
BORDERS = ("reflect", "zero", "replicate")


class Job(ctypes.Structure):
    """``struct Job`` of warp.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("images", "out", "matrix", "flow", "bent")),
        *((name, ctypes.c_int64) for name in ("n", "channels", "h", "w", "oh", "ow")),
        *((name, ctypes.c_int32) for name in ("bytes_in", "bytes_out", "last", "border", "nearest", "threads")),
    )


@functools.cache
def kernel() -> Any:
    """The loaded library, or None where there is no C++ compiler, or ``DASHPOT_NO_COMPILER`` is set."""
    library = native.library(SOURCE)
    if library is None:
        return None
    library.dashpot_warp_size.restype = ctypes.c_int64
    assert library.dashpot_warp_size() == ctypes.sizeof(Job), "Job and struct Job differ"
    library.dashpot_warp.argtypes = [ctypes.POINTER(Job)]
    library.dashpot_warp.restype = None
    return library


def can_warp(x: Tensor) -> bool:
    """Whether :func:`warped` takes these images: a compiler is at hand, and they are bytes or float32 on the CPU of
    which no gradient is asked.
    """
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.uint8, torch.float32)
        and not (x.requires_grad and torch.is_grad_enabled())
        and kernel() is not None
    )


def warped(
    x: Tensor,
    matrix: np.ndarray,
    bent: np.ndarray | None,
    flow: Tensor | None,
    size: tuple[int, int],
    border: str,
    mode: str,
    unit: bool,
) -> Tensor:
    """As :func:`dashpot.imaging.warp.warp`.

    Args:
        matrix: float64 [n, 3, 3].
        bent: which samples the field moves, bool [n]; None: none.
        flow: the field, float32 [n, 2, *size]; None: there is none.
    """
    n, channels, h, w = x.shape
    memory = torch.channels_last if in_channels_last(x) else torch.contiguous_format
    x = x.detach().contiguous(memory_format=memory)
    dtype = torch.float32 if unit else x.dtype
    out = buffers.empty((n, channels, *size), dtype, memory is torch.channels_last)
    matrix = np.ascontiguousarray(matrix)
    field = None if flow is None else flow.contiguous()
    job = Job(
        *(x.data_ptr(), out.data_ptr(), matrix.ctypes.data, None if field is None else field.data_ptr()),
        *(None if field is None or bent is None else bent.ctypes.data, n, channels, h, w, *size),
        *(x.dtype == torch.uint8, out.dtype == torch.uint8, memory is torch.channels_last),
        *(BORDERS.index(border), mode == "nearest", torch.get_num_threads()),
    )
    kernel().dashpot_warp(ctypes.byref(job))
    return out


def in_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side in memory, and not also its plane."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
