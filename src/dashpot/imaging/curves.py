"""Curves: each pixel's new value depends on its own, and on how often each value is in its channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dashpot.imaging import kernels
from dashpot.imaging.operations import Operation

NONE, SOLARIZE, POSTERIZE, EQUALIZE, AUTOCONTRAST = range(5)


@dataclass(frozen=True, eq=False)
class Curve(Operation):
    """One curve for each image.

    Attributes:
        kind: which one, int64 [n]: ``NONE``, ``SOLARIZE``, ``POSTERIZE``, ``EQUALIZE`` or ``AUTOCONTRAST``.
        level: its number, float32 [n]: the threshold of solarize, the bits of posterize.
    """

    kind: Tensor
    level: Tensor

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return curve(x, self.kind, self.level, unit=unit, owned=owned)


def curve(x: Tensor, kind: Tensor, level: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """Each image by its own curve.

    Args:
        x: [n, c, h, w], uint8 or floating point in [0, 1].
        kind: int64 [n] on the CPU.
        level: float32 [n] on the CPU.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    found = kernels.run("colour", "curve", x, unit, owned, kind, level.float())
    if found is not None:
        return found
    out = kernels.values(x) if unit and x.dtype == torch.uint8 else x.clone()
    for number, function in CURVES.items():
        rows = (kind == number).nonzero()[:, 0]
        if len(rows):
            there = rows.to(x.device, non_blocking=True)
            out[there] = function(out[there], level[rows])
    return kernels.like(out, x)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """``1 - x`` where x is at least the image's threshold [n], in [0, 1]; above 1 it is off."""
    top = 255 if x.dtype == torch.uint8 else 1
    level = kernels.wide(threshold, kernels.values(x))
    return torch.where((kernels.values(x) >= level) & (level <= 1), top - x, x)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Only the highest bits [n], 0 to 8, of each byte; of numbers in [0, 1] those of the nearest byte; 8 is off."""
    kept = bits.to(x.device, non_blocking=True).long().clamp(0, 8).view(-1, 1, 1, 1)
    mask = (0xFF << (8 - kept)) & 0xFF
    bytes_ = _bytes(x) & mask
    new = bytes_.to(torch.uint8) if x.dtype == torch.uint8 else (bytes_ / 255).to(x.dtype)
    return torch.where((kept == 8) | x.isnan(), x, new)


def equalize(x: Tensor, _level: Tensor | None = None) -> Tensor:
    """The histogram of each channel made flat, by Pillow's rule (which changes nothing where a level would have less
    than one pixel; this rounds there). Numbers in [0, 1] are taken to the nearest byte.
    """
    n, c = x.shape[:2]
    flat = _bytes(x).flatten(2)
    count = torch.zeros(n, c, 256, dtype=torch.int64, device=x.device)
    count.scatter_add_(2, flat, torch.ones_like(flat))
    last = 255 - (count > 0).flip(2).to(torch.uint8).argmax(2, keepdim=True)
    rest = count.sum(2, keepdim=True) - count.gather(2, last)
    step, below = rest // 255, count.cumsum(2) - count
    few = (510 * below + rest) // (2 * rest).clamp(min=1)
    table = torch.where(step > 0, (step // 2 + below) // step.clamp(min=1), few).clamp(max=255)
    new = table.gather(2, flat).view(x.shape)
    out = new.to(torch.uint8) if x.dtype == torch.uint8 else (new / 255).to(x.dtype)
    return torch.where((rest == 0)[..., None] | x.isnan(), x, out)


def autocontrast(x: Tensor, _level: Tensor | None = None) -> Tensor:
    """Each channel stretched so that its least value is 0 and its greatest 1; a channel of one value stays."""
    v = kernels.values(x)
    low = v.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amin((2, 3), keepdim=True)
    high = v.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).amax((2, 3), keepdim=True)
    new = torch.where(high > low, (v - low) / (high - low), v)
    return kernels.finished(new.clamp(0, 1), x, False)


CURVES: dict[int, Callable[[Tensor, Tensor], Tensor]] = {
    SOLARIZE: solarize,
    POSTERIZE: posterize,
    EQUALIZE: equalize,
    AUTOCONTRAST: autocontrast,
}


def _bytes(x: Tensor) -> Tensor:
    """The nearest bytes, int64."""
    return x.long() if x.dtype == torch.uint8 else (kernels.values(x).nan_to_num(0).clamp(0, 1) * 255 + 0.5).long()
