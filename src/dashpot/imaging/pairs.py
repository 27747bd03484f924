"""Each sample of a batch mixed with another one of it, in one pass, where a C++ kernel can: else None."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from dashpot.imaging import kernels


def pasted(x: Tensor, place: Tensor, boxes: Tensor) -> Tensor | None:
    """Images [n, c, h, w] with the pixels of those at ``place`` inside of their boxes.

    Args:
        x: uint8 or floating point; it stays as it is.
        place: of each image's partner, int64 [n].
        boxes: top, bottom, left and right, the second and last excluded, within the image, int64 [n, 4] on the CPU.
    """
    return kernels.run("pairs", "pasted", _whole(x), False, False, place, boxes)


def boxes(share: Tensor, centres: Tensor, height: int, width: int) -> tuple[Tensor, Tensor] | None:
    """Boxes of the images' shape with an area of ``1 - share``, clipped at the edges, and the shares outside of them.

    Args:
        share: float32 [...] on the CPU.
        centres: of the boxes, in [0, 1), float32 [..., 2] (vertical, horizontal).
    """
    call = _boxes()
    if call is None or share.dtype != torch.float32 or centres.dtype != torch.float32:
        return None
    share, centres = share.contiguous(), centres.contiguous()
    found = torch.empty(*share.shape, 4, dtype=torch.int64, device="cpu")
    left = torch.empty_like(share)
    pointers = (share.data_ptr(), centres.data_ptr(), found.data_ptr(), left.data_ptr())
    call(share.numel(), height, width, *pointers)
    return found, left


@functools.cache
def _boxes() -> Any:
    library = kernels.library("pairs")
    if library is None:
        return None
    call = library["dashpot_boxes"]
    call.argtypes, call.restype = [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 4, None
    return call


def blended(x: Tensor, place: Tensor, share: Tensor) -> Tensor | None:
    """``share * x + (1 - share) * x[place]``, by samples [n, ...], as :func:`torch.lerp` has it.

    Args:
        x: floating point; it stays as it is.
        place: of each sample's partner, int64 [n].
        share: float32 [n] on the CPU.
    """
    if x.dtype != torch.float32 or x.ndim < 2:
        return None
    if x.ndim == 4:
        return kernels.run("pairs", "blended", _whole(x), False, False, place, share)
    rows = x.contiguous().view(len(x), 1, 1, x[:1].numel())
    found = kernels.run("pairs", "blended", rows, False, False, place, share)
    return None if found is None else found.view(x.shape)


def _whole(x: Tensor) -> Tensor:
    """Images without gaps between them: of others a kernel would write over its copy, from which it still reads
    partners.
    """
    return x if kernels.is_channels_last(x) else x.contiguous()
