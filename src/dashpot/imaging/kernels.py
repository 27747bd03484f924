"""C++ kernels on batches of images: for uint8 and float32 on a CPU, in contiguous and channels-last memory. Each
image is done by one thread, so any number of threads gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dashpot.core import native
from dashpot.imaging import buffers

SMALL = 1 << 17
"""Numbers up to which a batch is done by one thread."""


@functools.cache
def library(source: str) -> ctypes.CDLL | None:
    """The functions of a C++ file, or None without a compiler."""
    return native.library(Path(__file__).with_name(f"{source}.cpp"))


@functools.cache
def _function(source: str, name: str, numbers: tuple[bool, ...]) -> Any:
    """A kernel with the types of its arguments, of which some are whole numbers and the others tensors; None without a
    compiler. Types that are known once save as much time as a small batch takes.
    """
    if (of := library(source)) is None:
        return None
    found = of[f"dashpot_{name}"]  # an object of its own, whose types are no other caller's
    own = [ctypes.c_int64 if number else ctypes.c_void_p for number in numbers]
    found.argtypes = [ctypes.c_int, ctypes.c_int, *[ctypes.c_int64] * 5, ctypes.c_void_p, *own, ctypes.c_void_p]
    found.restype = None
    return found


def run(source: str, function: str, x: Tensor, unit: bool, owned: bool, *arguments: Tensor | int) -> Tensor | None:
    """What a kernel makes of images, or None where it cannot: torch does it then.

    Args:
        source: the name of the C++ file.
        function: in it.
        x: [n, c, h, w].
        unit: of bytes make float32 in [0, 1].
        owned: it may be written over.
        arguments: of the kernel, tensors [n, ...] and whole numbers.
    """
    able = x.device.type == "cpu" and x.dtype in (torch.uint8, torch.float32)
    wanted = x.requires_grad and torch.is_grad_enabled()  # a gradient
    if not able or wanted or torch.compiler.is_compiling():
        return None
    call = _function(source, function, tuple([isinstance(a, int) for a in arguments]))
    if call is None:
        return None
    last = is_channels_last(x)
    if not (last or x.is_contiguous()):
        x, owned = x.contiguous(), True
    as_unit = unit and x.dtype == torch.uint8
    new = as_unit or not owned
    out = buffers.empty(x.shape, torch.float32 if as_unit else x.dtype, last) if new else x
    if not x.numel():
        return out
    kept = [a.cpu().contiguous() if isinstance(a, Tensor) else a for a in arguments]  # alive until the call is over
    values = [a.data_ptr() if isinstance(a, Tensor) else a for a in kept]
    types = 1 if x.dtype == torch.float32 else 2 if as_unit else 0
    threads = torch.get_num_threads() if x.numel() > SMALL else 1
    call(threads, types, *x.shape, last, x.data_ptr(), *values, out.data_ptr())
    return out


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side (and there are several)."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def values(x: Tensor) -> Tensor:
    """The pixels as numbers in [0, 1], float32, or float64 of float64."""
    if x.dtype == torch.uint8:
        return x.float() / 255
    return x if x.dtype == torch.float64 else x.float()


def finished(v: Tensor, x: Tensor, unit: bool, same: Tensor | None = None) -> Tensor:
    """New values in the type and memory format of the images ``x``; bytes are rounded to the nearest.

    Args:
        v: as :func:`values` has them.
        x: the images as they came.
        unit: of bytes make float32 in [0, 1].
        same: images that stay as they are, bool [n].
    """
    if x.dtype == torch.uint8 and not unit:
        out = (v.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    else:
        out = v if x.dtype == torch.uint8 else v.to(x.dtype)
    if same is not None:
        old = values(x) if unit and x.dtype == torch.uint8 else x
        out = torch.where(same.to(x.device, non_blocking=True).view(-1, 1, 1, 1), old, out)
    return like(out, x)


def like(out: Tensor, x: Tensor) -> Tensor:
    """``out`` in the memory format of ``x``."""
    return out.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else out.contiguous()


def wide(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers [n] on the device of images, [n, 1, 1, 1]."""
    return numbers.to(like.device, non_blocking=True).to(like.dtype).view(-1, 1, 1, 1)
