"""Draws that belong to an image itself: hashes of its pixels, the same wherever and beside whatever it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.rng import derive_all
from dashpot.imaging.draws import SampleDraws

STEPS = 16 * 255
"""Pixels are rounded to so many parts of their range before they are hashed, so that bytes and the floating-point
numbers in [0, 1] made of them are one image.
"""
FAR = 2.0**20
"""Values beyond it, and NaN, are taken for it and for 0."""
PART = 1 << 20
"""Pixels that are hashed at once."""


def image_hashes(x: Tensor) -> np.ndarray:
    """A number for each image [n, c, h, w] by its pixels, uint64 [n]; the same for bytes and for floats in [0, 1].

    >>> x = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    >>> bool((image_hashes(x)[1:] == image_hashes(x[1:].float() / 255)).all())
    True
    """
    count = x[0].numel() if len(x) else 1
    places = derive_all(np.arange(count, dtype=np.uint64), 1)
    weights = torch.from_numpy(places.view(np.int64)).to(x.device)
    found = []
    for part in torch.split(x, max(1, PART // count)):
        if part.dtype == torch.uint8:
            steps = part.long() * (STEPS // 255)
        else:
            near = part.detach().to(torch.float64 if part.dtype == torch.float64 else torch.float32)
            steps = (near.nan_to_num(0.0).clamp(-FAR, FAR) * STEPS).round().long()
        found.append(((steps.flatten(1) + 1) * weights).sum(dim=1))  # whole numbers wrap around, in any order
    words = torch.cat(found).cpu().numpy() if found else np.zeros(0, dtype=np.int64)
    return derive_all(words.view(np.uint64), count)


class ImageDraws(SampleDraws):
    """:class:`SampleDraws` by the images themselves: what an image is given depends on the key and on its own pixels.

    Args:
        key: 64 bits.
        hashes: of the images, uint64 [n]: see :func:`image_hashes`.
        version: which version of each image is drawn; what alternates by epochs alternates by it.

    Example:
        >>> hashes = np.array([3, 8], dtype=np.uint64)
        >>> bool((ImageDraws(7, hashes).uniform(2)[1] == ImageDraws(7, hashes[1:]).uniform(2)[0]).all())
        True
    """

    def __init__(self, key: int, hashes: np.ndarray, version: int = 0) -> None:
        index = torch.from_numpy((hashes & np.uint64(0x7FFFFFFF)).astype(np.int64))
        super().__init__(key, len(hashes), own=key, index=index, epoch=version)
        self._hashes = hashes

    def image_keys(self) -> np.ndarray:
        key = self.next_key()
        return derive_all(np.full(self.n, key, dtype=np.uint64) ^ self._hashes, 0)

    def uniform(self, k: int = 1) -> Tensor:
        return uniform_by(self.image_keys(), k).view(self.n, k)

    def normal(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        count = math.prod(shape[1:])
        u, v = (uniform_by(self.image_keys(), count, device) for _ in range(2))
        radius = torch.sqrt(-2 * torch.log1p(-u))
        return (radius * torch.cos(v * (2 * math.pi))).view(tuple(shape))
