"""Warps: images read at other places. One maths path in torch for all devices, and a C++ kernel that gives the same."""

from __future__ import annotations

import torch
from torch import Tensor

from dashpot.imaging.flow import field

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
    height, width = size or (x.shape[-2], x.shape[-1])
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    whole = copies(matrix)
    if knots is not None:
        whole &= (knots == 0).flatten(1).all(1)
    if knots is not None and not bool(whole.all()):
        flow = field(knots.to(x.device, non_blocking=True), spacing, height, width)
    else:
        flow = None
    if bool(whole.all()):
        out = _read(x, matrix, (height, width), None, border, "nearest")
    elif not bool(whole.any()) or mode == "nearest":
        out = _read(x, matrix, (height, width), flow, border, mode)
    else:
        out = x.new_empty(len(x), x.shape[1], height, width)
        for rows, how in ((whole.nonzero()[:, 0], "nearest"), ((~whole).nonzero()[:, 0], mode)):
            there = rows.to(x.device, non_blocking=True)
            moved = None if flow is None or how == "nearest" else flow.index_select(0, there)
            part = _read(x.index_select(0, there), matrix[rows], (height, width), moved, border, how)
            out.index_copy_(0, there, part)
    if unit and x.dtype == torch.uint8:
        out = out.float().div_(255)
    return out.contiguous(memory_format=torch.channels_last) if channels_last else out


def copies(matrix: Tensor) -> Tensor:
    """Which matrices move whole pixels: 0, 1 and -1, and whole numbers of pixels; bool [n]."""
    inner = matrix[:, :2, :2]
    units = ((inner == 0) | (inner.abs() == 1)).flatten(1).all(1)
    return units & (matrix[:, :2, 2] == matrix[:, :2, 2].round()).all(1) & affine(matrix)


def affine(matrix: Tensor) -> Tensor:
    """Which matrices have (0, 0, 1) as their last row; bool [n]."""
    return (matrix[:, 2, 0] == 0) & (matrix[:, 2, 1] == 0) & (matrix[:, 2, 2] == 1)


def _read(x: Tensor, matrix: Tensor, size: tuple[int, int], flow: Tensor | None, border: str, mode: str) -> Tensor:
    n, c, h, w = x.shape
    at_x, at_y = _places(matrix, size, flow, x)
    flat = x.reshape(n, c, h * w)

    def pixels(ix: Tensor, iy: Tensor) -> Tensor:
        """The values at whole coordinates [n, size], with what is outside; [n, c, size]."""
        inside = (ix >= 0) & (ix < w) & (iy >= 0) & (iy < h)
        place = _bordered(iy, h, border) * w + _bordered(ix, w, border)
        values = flat.gather(2, place.reshape(n, 1, -1).expand(n, c, -1)).view(n, c, *size)
        return values.masked_fill(~inside[:, None], 0) if border == "zero" else values

    if mode == "nearest":
        return pixels((at_x + 0.5).floor().long(), (at_y + 0.5).floor().long())
    left, top = at_x.floor(), at_y.floor()
    ix, iy = left.long(), top.long()
    real = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    fx, fy = (at_x - left).to(real)[:, None], (at_y - top).to(real)[:, None]
    rows = []
    for row in (iy, iy + 1):
        one, other = pixels(ix, row).to(real), pixels(ix + 1, row).to(real)
        rows.append(one + fx * (other - one))
    found = rows[0] + fy * (rows[1] - rows[0])
    return (found + 0.5).floor_().to(torch.uint8) if x.dtype == torch.uint8 else found.to(x.dtype)


def _places(matrix: Tensor, size: tuple[int, int], flow: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input coordinates of all output pixels, [n, height, width] each, float64 where the device has it."""
    real = torch.float32 if x.device.type == "mps" else torch.float64
    m = matrix.to(real).to(x.device, non_blocking=True)[:, :, :, None, None]
    px = torch.arange(size[1], dtype=real, device=x.device)[None, None, :]
    py = torch.arange(size[0], dtype=real, device=x.device)[None, :, None]
    if flow is not None:
        moved = flow.to(x.device, non_blocking=True).to(real)
        px, py = px + moved[:, 0], py + moved[:, 1]
    at_x, at_y = (m[:, k, 0] * px + m[:, k, 1] * py + m[:, k, 2] for k in (0, 1))
    if not bool(affine(matrix).all()):
        depth = m[:, 2, 0] * px + m[:, 2, 1] * py + m[:, 2, 2]
        at_x, at_y = at_x / depth, at_y / depth
    return tuple(at.nan_to_num(FAR, FAR, -FAR).clamp(-FAR, FAR) for at in (at_x, at_y))  # type: ignore[return-value]  # two


def _bordered(i: Tensor, length: int, border: str) -> Tensor:
    """The place inside that a whole coordinate is read at."""
    if border != "reflect":
        return i.clamp(0, length - 1)
    if length == 1:
        return torch.zeros_like(i)
    i = i.remainder(2 * (length - 1))
    return torch.minimum(i, 2 * (length - 1) - i)
