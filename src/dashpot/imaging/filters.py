"""Filters: Gaussian blur and sharpness, with a strength for each image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dashpot.imaging import kernels
from dashpot.imaging.operations import Operation


@dataclass(frozen=True, eq=False)
class Blur(Operation):
    """Gaussian blur by ``sigma`` pixels, float32 [n]; 0 leaves an image as it is."""

    sigma: Tensor

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return gaussian_blur(x, self.sigma, unit=unit, owned=owned)


@dataclass(frozen=True, eq=False)
class Sharpen(Operation):
    """Sharpness by ``factor``, float32 [n]; 1 leaves an image as it is."""

    factor: Tensor

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return sharpness(x, self.factor, unit=unit, owned=owned)


def gaussian_blur(x: Tensor, sigma: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """Gaussian means of the pixels around each, as far as 3 sigma; outside the image is mirrored without its edge.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        sigma: standard deviation in pixels, [n] on the CPU; 0: stays as it is.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    weights = gaussian_weights(sigma)
    most = weights.shape[1] - 1
    found = kernels.run("filters", "blur", x, unit, owned, weights.float(), most)
    if found is not None:
        return found
    v = kernels.values(x)
    for axis in (2, 3):
        v = _along(v, axis, weights.to(v.dtype).to(x.device, non_blocking=True))
    return kernels.finished(v, x, unit, sigma <= 0)


def gaussian_weights(sigma: Tensor) -> Tensor:
    """The weight of the pixel itself, of each of those beside it, and so on, float64 [n, 1 + most]; beyond 3 sigma
    zeros. All of a row, its neighbours counted twice, sum to 1.
    """
    sigma = sigma.double()[:, None]
    radius = torch.ceil(3 * sigma)
    place = torch.arange(int(radius.max()) + 1 if len(sigma) else 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (place / sigma.clamp(min=1e-30)).square()) * (place <= radius)
    return weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])


def _along(v: Tensor, axis: int, weights: Tensor) -> Tensor:
    length = v.shape[axis]
    place, period = torch.arange(length, device=v.device), max(2 * (length - 1), 1)

    def moved(by: int) -> Tensor:
        at = (place + by).remainder(period)
        return v.index_select(axis, torch.minimum(at, period - at) if length > 1 else place)

    w = weights.T[:, :, None, None, None]
    out = w[0] * v
    for k in range(1, len(w)):
        out = out + w[k] * (moved(k) + moved(-k))
    return out


def sharpness(x: Tensor, factor: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """``smooth + factor * (x - smooth)``, clipped to [0, 1], with Pillow's 3x3 smoothing (5 in the middle and 1 around,
    by 13); the pixels of the edge stay.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        factor: [n] on the CPU: 0 is smooth, 1 leaves an image as it is, 2 is sharper.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    found = kernels.run("filters", "sharpness", x, unit, owned, factor.float())
    if found is not None:
        return found
    v = kernels.values(x)
    if min(v.shape[2:]) < 3:
        return kernels.finished(v, x, unit)
    rows = v[:, :, :-2] + v[:, :, 1:-1] + v[:, :, 2:]
    inner = v[:, :, 1:-1, 1:-1]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner) / 13
    out = v.clone()
    out[:, :, 1:-1, 1:-1] = torch.lerp(smooth, inner, kernels.wide(factor, v)).clamp(0, 1)
    return kernels.finished(out, x, unit, factor == 1)
