"""What colour techniques mean, one image at a time in NumPy float64, written from the definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

SHAPES = ((4, 3, 17, 13), (3, 1, 9, 20), (2, 5, 8, 8), (2, 3, 2, 2))


def pictures(shape: tuple[int, ...], dtype: torch.dtype, last: bool = False, seed: int = 0) -> Tensor:
    """Smooth pictures with some of the darkest and brightest pixels in them."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = ((x + x.roll(1, 3) + x.roll(1, 2)) / 2 - 0.25).clamp(0, 1)
    x = (x * 255).round()
    x = x.to(dtype) if dtype == torch.uint8 else (x / 255).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def kinds() -> Iterator[tuple[tuple[int, ...], torch.dtype, bool]]:
    """Shapes, types and memory formats."""
    for shape in SHAPES:
        for dtype in (torch.uint8, torch.float32, torch.float64, torch.bfloat16):
            for last in (False, True):
                yield shape, dtype, last


def unit(x: Tensor) -> np.ndarray:
    """As float64 in [0, 1]."""
    return x.double().numpy() / (255 if x.dtype == torch.uint8 else 1)


def agree(found: Tensor, x: Tensor, expected: np.ndarray, *, loose: float = 1e-6) -> None:
    """``found`` is ``expected`` in the type and memory format of ``x``: to rounding, of bytes to half a level."""
    assert found.dtype == x.dtype
    assert found.shape == x.shape
    assert found.stride() == x.stride()
    slack = {torch.uint8: 0.5001 / 255, torch.bfloat16: 2.0**-8}.get(x.dtype, 0.0) + loose
    np.testing.assert_allclose(unit(found), expected, rtol=0, atol=slack)


def grey(image: np.ndarray) -> np.ndarray:
    """[c, h, w] to [h, w]."""
    if len(image) != 3:
        return image.mean(0)
    red, green, blue = image
    return 0.299 * red + 0.587 * green + 0.114 * blue


def each(x: Tensor, change: Callable[..., np.ndarray], *numbers: np.ndarray) -> np.ndarray:
    """``change(image, number, ...)`` of each image."""
    return np.stack([change(image, *(n[i] for n in numbers)) for i, image in enumerate(unit(x))])


def clip(image: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(image, 0), 1)


def turned(image: np.ndarray, turn: float) -> np.ndarray:
    """Hue: each pixel's colour difference in the YIQ plane times a complex number."""
    if len(image) != 3:
        return image
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    y, i, q = np.tensordot(to_yiq, image, 1)
    z = (i + 1j * q) * np.exp(2j * np.pi * turn)
    return clip(np.tensordot(np.linalg.inv(to_yiq), np.stack([y, z.real, z.imag]), 1))


def smoothed(image: np.ndarray) -> np.ndarray:
    """Pillow's 3x3 smoothing; the edge as it is."""
    out = image.copy()
    for y in range(1, image.shape[1] - 1):
        for x in range(1, image.shape[2] - 1):
            near = image[:, y - 1 : y + 2, x - 1 : x + 2].sum((1, 2))
            out[:, y, x] = (near + 4 * image[:, y, x]) / 13
    return out


def equalized(channel: np.ndarray) -> np.ndarray:
    """Pillow's rule; rounded where a level would have less than a pixel."""
    levels = np.floor(channel * 255 + 0.5).astype(int)
    rest = int((levels != levels.max()).sum())
    if rest == 0:
        return channel
    step = rest // 255
    below = np.array([(levels < v).sum() for v in range(256)])
    table = (step // 2 + below) // step if step else np.floor(255 * below / rest + 0.5)
    return np.minimum(table, 255)[levels] / 255
