"""Warps: images read at other places. One maths path in torch for all devices, and a C++ kernel that gives the same."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging.flow import field
from dashpot.imaging.native import can_warp, in_channels_last, warped

FAR = 1e6
"""Coordinates are kept within this many pixels: whole numbers hold them, and where there is a border it is outside."""


def warp(
    x: Tensor,
    matrix: Tensor,
    size: tuple[int, int] | None = None,
    knots: Tensor | None = None,
    spacing: float = 0.0,
    *,
    border: str = "reflect",
    mode: str = "bilinear",
    unit: bool = False,
) -> Tensor:
    """Images [n, c, height, width] read at ``matrix @ (x + dx, y + dy, 1)`` for each output pixel (x, y).

    Args:
        x: uint8 or floating point, contiguous or channels-last memory; it stays as it is.
        matrix: from output to input pixel coordinates, float64 [n, 3, 3] on the CPU; the last row of affine maps is
            (0, 0, 1).
        size: height and width of the output, by default those of ``x``.
        knots, spacing: of the field (dx, dy) in output pixels, as :func:`dashpot.imaging.flow.field` takes them, on the
            CPU; None: there is none.
        border: ``"reflect"``, ``"zero"`` or ``"replicate"``: what is read outside.
        mode: ``"bilinear"`` or ``"nearest"``.
        unit: of bytes make float32 in [0, 1].

    Returns:
        A new tensor of the type and memory format of ``x``, or with ``unit`` float32. Where a matrix moves whole pixels
        values are copied bit for bit, not-a-number too.
    """
    height, width = size = size or (x.shape[-2], x.shape[-1])
    unit = unit and x.dtype == torch.uint8
    maps = matrix.numpy()
    bent: np.ndarray | None = None
    flow = None
    if knots is not None:
        bent = np.asarray(knots.numpy().any(axis=(1, 2, 3)))
        flow = field(knots.to(x.device, non_blocking=True), spacing, height, width) if bent.any() else None
    if can_warp(x):
        return warped(x, maps, bent, flow, size, border, mode, unit)
    whole = copies(maps) if bent is None else copies(maps) & ~bent
    if whole.all():
        out = _read(x, matrix, size, None, border, "nearest", unit)
    elif not whole.any():
        out = _read(x, matrix, size, flow, border, mode, unit)
    else:
        out = x.new_empty(len(x), x.shape[1], height, width, dtype=torch.float32 if unit else x.dtype)
        for rows, how in ((np.flatnonzero(whole), "nearest"), (np.flatnonzero(~whole), mode)):
            own = torch.from_numpy(rows)
            there = own.to(x.device, non_blocking=True)
            moved = flow.index_select(0, there) if flow is not None and not whole[rows[0]] else None
            part = _read(x.index_select(0, there), matrix.index_select(0, own), size, moved, border, how, unit)
            out.index_copy_(0, there, part)
    return out.contiguous(memory_format=torch.channels_last) if in_channels_last(x) else out


def copies(maps: np.ndarray) -> np.ndarray:
    """Which matrices [n, 3, 3] move whole pixels: 0, 1 and -1, and whole numbers of pixels; bool [n]."""
    inner, moves = np.abs(maps[:, :2, :2]).reshape(-1, 4), maps[:, :2, 2]
    units = ((inner == 0) | (inner == 1)).all(1) & (moves == np.rint(moves)).all(1)
    found: np.ndarray = units & affine(maps)
    return found


def affine(maps: np.ndarray) -> np.ndarray:
    """Which matrices [n, 3, 3] have (0, 0, 1) as their last row; bool [n]."""
    found: np.ndarray = (maps[:, 2] == (0, 0, 1)).all(1)
    return found


def _read(
    x: Tensor, matrix: Tensor, size: tuple[int, int], flow: Tensor | None, border: str, mode: str, unit: bool
) -> Tensor:
    n, c, h, w = x.shape
    at_x, at_y = _places(matrix, size, flow, x)
    flat = x.reshape(n, c, h * w)

    def pixels(ix: Tensor, iy: Tensor) -> Tensor:
        """The values at whole coordinates [n, size], with what is outside; [n, c, size]."""
        inside = (ix >= 0) & (ix < w) & (iy >= 0) & (iy < h)
        place = _bordered(iy, h, border) * w + _bordered(ix, w, border)
        values = flat.gather(2, place.reshape(n, 1, size[0] * size[1]).expand(n, c, -1)).view(n, c, *size)
        return values.masked_fill(~inside[:, None], 0) if border == "zero" else values

    if mode == "nearest":
        found = pixels((at_x + 0.5).floor().long(), (at_y + 0.5).floor().long())
        return found.float().div_(255) if unit else found
    left, top = at_x.floor(), at_y.floor()
    ix, iy = left.long(), top.long()
    real = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    fx, fy = (at_x - left).to(real)[:, None], (at_y - top).to(real)[:, None]
    rows = []
    for row in (iy, iy + 1):
        one, other = pixels(ix, row).to(real), pixels(ix + 1, row).to(real)
        rows.append(one + fx * (other - one))
    found = rows[0] + fy * (rows[1] - rows[0])
    if unit:
        return found.div_(255)
    return (found + 0.5).floor_().to(torch.uint8) if x.dtype == torch.uint8 else found.to(x.dtype)


def _places(matrix: Tensor, size: tuple[int, int], flow: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input coordinates of all output pixels, [n, height, width] each, float64 where the device has it."""
    real = torch.float32 if x.device.type == "mps" else torch.float64
    m = matrix.to(real).to(x.device, non_blocking=True)[:, :, :, None, None]
    px = torch.arange(size[1], dtype=real, device=x.device)[None, None, :]
    py = torch.arange(size[0], dtype=real, device=x.device)[None, :, None]
    if flow is not None:
        moved = flow.to(real)
        px, py = px + moved[:, 0], py + moved[:, 1]
    at_x, at_y = (m[:, k, 0] * px + m[:, k, 1] * py + m[:, k, 2] for k in (0, 1))
    if not affine(matrix.numpy()).all():
        depth = m[:, 2, 0] * px + m[:, 2, 1] * py + m[:, 2, 2]
        at_x, at_y = at_x / depth, at_y / depth
    at_x, at_y = (at.nan_to_num(-FAR, FAR, -FAR).clamp(-FAR, FAR) for at in (at_x, at_y))
    return at_x, at_y


def _bordered(i: Tensor, length: int, border: str) -> Tensor:
    """The place inside that a whole coordinate is read at."""
    if border != "reflect":
        return i.clamp(0, length - 1)
    if length == 1:
        return torch.zeros_like(i)
    i = i.remainder(2 * (length - 1))
    return torch.minimum(i, 2 * (length - 1) - i)
