"""Noise: numbers that are hashes of the image's key and the pixel's place, so that they are the same on every
device, in every memory format and in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.imaging import kernels
from dashpot.imaging.draws import SampleDraws
from dashpot.imaging.operations import Operation


@dataclass(frozen=True, eq=False)
class GaussianNoise(Operation):
    """Gaussian noise.

    Attributes:
        std: in units of the pixel range, float32 [n]; 0 leaves an image as it is.
        keys: of the images, int64 [n].
    """

    std: Tensor
    keys: Tensor

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return gaussian_noise(x, self.std, self.keys, unit=unit, owned=owned)


@dataclass(frozen=True, eq=False)
class Salt(Operation):
    """Pixels that become black or white.

    Attributes:
        amount: share of the pixels, float32 [n]; 0 leaves an image as it is.
        keys: of the images, int64 [n].
    """

    amount: Tensor
    keys: Tensor

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return salt_and_pepper(x, self.amount, self.keys, unit=unit, owned=owned)


def image_keys(draws: SampleDraws) -> Tensor:
    """A key for each image, int64 [n] (the bits of an unsigned one)."""
    return torch.from_numpy(draws.image_keys().view(np.int64).copy())


def uniform_pixels(keys: Tensor, shape: torch.Size, device: torch.device) -> Tensor:
    """float32 in [0, 1) for each pixel of images [n, c, h, w] with these keys."""
    return uniform_by(keys.numpy().view(np.uint64), shape[1:].numel(), device).view(shape)


def normal_pixels(keys: Tensor, shape: torch.Size, device: torch.device) -> Tensor:
    """Standard normal numbers, float32, by the inverse of the error function."""
    return torch.erfinv(uniform_pixels(keys, shape, device) * 2 - 1 + 2.0**-24) * 2**0.5


def gaussian_noise(x: Tensor, std: Tensor, keys: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """``clip(x + std * z, 0, 1)`` with z standard normal for each pixel and channel.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        std: in units of the pixel range, [n] on the CPU; 0: stays as it is.
        keys: int64 [n] on the CPU.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    found = kernels.run("noise", "gaussian_noise", x, unit, owned, std.float(), keys)
    if found is not None:
        return found
    v = kernels.values(x)
    z = normal_pixels(keys, x.shape, x.device)
    return kernels.finished((v + kernels.wide(std, v) * z).clamp(0, 1), x, unit, std == 0)


def salt_and_pepper(x: Tensor, amount: Tensor, keys: Tensor, *, unit: bool = False, owned: bool = False) -> Tensor:
    """Half of a share ``amount`` of the pixels black and half white, in all channels.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        amount: in [0, 1], [n] on the CPU.
        keys: int64 [n] on the CPU.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    found = kernels.run("noise", "salt_and_pepper", x, unit, owned, amount.float(), keys)
    if found is not None:
        return found
    u = uniform_pixels(keys, torch.Size((len(x), 1, *x.shape[2:])), x.device)
    share = kernels.wide(amount, u)
    top = 255 if x.dtype == torch.uint8 else 1
    new = torch.where(u < share, ((u >= share * 0.5) * top).to(x.dtype), x)
    return kernels.finished(kernels.values(new), x, unit) if unit and x.dtype == torch.uint8 else new
