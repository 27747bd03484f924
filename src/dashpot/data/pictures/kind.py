"""What kind of pictures images are: photographs, or glyphs, which must not be mirrored."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

PictureKind = Literal["photo", "glyph"]
PICTURE_KINDS: tuple[PictureKind, ...] = get_args(PictureKind)
LOOKED_AT, PIXELS, NEAR, EQUAL, GROUND = 2000, 1 << 23, 0.05, 0.02, 0.4
"""Images, and values of them, that are looked at, at most; differences, as parts of the pixels' range, that count as
none from the ground and between channels; and the share of the pixels that show the ground.
"""
LEVELS = 255


def picture_kind(pixels: np.ndarray) -> tuple[PictureKind, float]:
    """The kind of images [n, channels, height, width], and the ground about the middle of a glyph: the most frequent
    value at the edges, as a part of the way from the least to the greatest value of all pixels.

    Digits, letters, drawings and silhouettes are ``"glyph"``: one channel, or channels that are equal, and at least
    40 % of the pixels within 5 % of the ground. Everything else is ``"photo"``. Photographs of digits, such as house
    numbers, are photographs by this rule.

    Example:
        >>> page = np.zeros((3, 1, 8, 8), dtype=np.uint8)
        >>> page[:, :, 2:6, 4] = 255
        >>> picture_kind(page), picture_kind(255 - page)
        (('glyph', 0.0), ('glyph', 1.0))
        >>> picture_kind(np.random.default_rng(0).integers(256, size=(9, 3, 8, 8)))[0]
        'photo'
    """
    some = pixels[:: every(pixels[:1], len(pixels))].astype(np.float32)
    low, high = float(some.min()), float(some.max())
    if high <= low:
        return "photo", 0.0
    unit = (some - low) / (high - low)
    edges = [unit[..., 0, :], unit[..., -1, :], unit[..., 0], unit[..., -1]]
    counts = np.bincount(np.rint(np.concatenate([edge.ravel() for edge in edges]) * LEVELS).astype(np.int64))
    ground = int(counts.argmax()) / LEVELS
    # Grey pictures that were saved in colours differ a little between channels, where they were compressed.
    grey = np.mean(unit.max(axis=1) - unit.min(axis=1) <= EQUAL) >= 1 - EQUAL
    plain = np.mean(np.abs(unit - ground) <= NEAR) >= GROUND
    return ("glyph" if grey and plain else "photo"), ground


def every(image: np.ndarray, n: int) -> int:
    """Each how many of ``n`` images like this one is looked at.

    >>> every(np.zeros((1, 1, 8, 8)), 1797), every(np.zeros((1, 3, 32, 32)), 50000)
    (1, 25)
    >>> every(np.zeros((1, 3, 224, 224)), 4000)
    73
    """
    return max(1, -(-n // max(1, min(LOOKED_AT, PIXELS // max(image.size, 1)))))
