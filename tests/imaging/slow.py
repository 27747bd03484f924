"""Images read pixel by pixel in NumPy float64, in loops: slow, and written apart from what it tests."""

from __future__ import annotations

import math

import numpy as np


def border_index(i: int, length: int, border: str) -> int | None:
    """Where a pixel outside is read, by walking back step by step; None for zero."""
    if border == "zero":
        return i if 0 <= i < length else None
    if border == "replicate":
        return min(max(i, 0), length - 1)
    if length == 1:
        return 0
    while not 0 <= i < length:
        i = -i if i < 0 else 2 * (length - 1) - i
    return i


def read(image: np.ndarray, x: int, y: int, border: str) -> np.ndarray:
    """The values [c] of ``image`` [c, h, w] at a whole place."""
    row, column = border_index(y, image.shape[1], border), border_index(x, image.shape[2], border)
    if row is None or column is None:
        return np.zeros(image.shape[0])
    return image[:, row, column].astype(np.float64)


def sample(image: np.ndarray, x: float, y: float, border: str, mode: str) -> np.ndarray:
    if mode == "nearest":
        return read(image, math.floor(x + 0.5), math.floor(y + 0.5), border)
    left, top = math.floor(x), math.floor(y)
    total = np.zeros(image.shape[0])
    for dy, wy in ((0, 1 - (y - top)), (1, y - top)):
        for dx, wx in ((0, 1 - (x - left)), (1, x - left)):
            if wx * wy > 0:
                total += wx * wy * read(image, left + dx, top + dy, border)
    return total


def warped(
    images: np.ndarray,
    matrices: np.ndarray,
    size: tuple[int, int] | None = None,
    flow: np.ndarray | None = None,
    border: str = "reflect",
    mode: str = "bilinear",
) -> np.ndarray:
    """Images [n, c, h, w] at ``matrix @ (x + dx, y + dy, 1)``, float64."""
    n, c, *own = images.shape
    height, width = size or tuple(own)
    out = np.zeros((n, c, height, width))
    for k in range(n):
        for i in range(height):
            for j in range(width):
                dx, dy = (0.0, 0.0) if flow is None else flow[k, :, i, j]
                u, v, w = matrices[k] @ np.array([j + dx, i + dy, 1.0])
                out[k, :, i, j] = sample(images[k], u / w, v / w, border, mode)
    return out
