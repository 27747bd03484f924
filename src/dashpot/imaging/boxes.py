"""Erasing: rectangles, and grids of them, filled with zeros, with the image's mean or with noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging import kernels
from dashpot.imaging.noise import uniform_pixels
from dashpot.imaging.operations import Operation

FILLS = ("zero", "mean", "noise")


@dataclass(frozen=True, eq=False)
class Erase(Operation):
    """Fill the pixels whose row and column are both marked.

    Attributes:
        rows, columns: uint8 [n, h] and [n, w], of ones and zeros.
        keys: of the images, int64 [n], for noise.
        fill: ``"zero"``, ``"mean"`` (of each channel of the image) or ``"noise"`` (uniform in [0, 1)).
    """

    rows: Tensor
    columns: Tensor
    keys: Tensor
    fill: str = "zero"

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return erase(x, self.rows, self.columns, self.keys, self.fill, unit=unit, owned=owned)


def erase(
    x: Tensor,
    rows: Tensor,
    columns: Tensor,
    keys: Tensor,
    fill: str = "zero",
    *,
    unit: bool = False,
    owned: bool = False,
) -> Tensor:
    """Images with the pixels filled whose row and column are both marked; see :class:`Erase`."""
    arguments = (rows, columns, FILLS.index(fill), keys)
    found = kernels.run("noise", "erase", x, unit, owned, *arguments)
    if found is not None:
        return found
    gone = (rows[:, None, :, None] & columns[:, None, None, :]).bool().to(x.device, non_blocking=True)
    v = kernels.values(x)
    if fill == "mean":
        new = v.mean((2, 3), keepdim=True)
    elif fill == "noise":
        new = uniform_pixels(keys, x.shape, x.device).to(v.dtype)
    else:
        new = torch.zeros_like(v[:, :, :1, :1])
    old = v if unit and x.dtype == torch.uint8 else x
    filled = kernels.finished(new.clamp(0, 1).expand(v.shape), x, unit)
    return kernels.like(torch.where(gone, filled, old), x)


def spans(start: np.ndarray, end: np.ndarray, length: int) -> Tensor:
    """Which of ``length`` places lie in [start, end) of each image, uint8 [n, length]; what is outside is cut off."""
    place = np.arange(length)
    return torch.from_numpy(((place >= start[:, None]) & (place < end[:, None])).astype(np.uint8))


def stripes(start: np.ndarray, period: np.ndarray, width: np.ndarray, length: int) -> Tensor:
    """Stripes of ``width`` places every ``period``, the first at ``start``, uint8 [n, length]."""
    place = np.arange(length) - start[:, None]
    return torch.from_numpy((np.mod(place, period[:, None]) < width[:, None]).astype(np.uint8))
