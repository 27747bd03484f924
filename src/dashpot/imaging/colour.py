"""Colour as linear maps: brightness, contrast, saturation, hue, grey and invert are one matrix for each image.

A map is ``matrix @ (pixel, 1) + about @ mean``, with the channels of a pixel in [0, 1] and ``mean`` those of the whole
image; two in turn are one again (:func:`composed`), and the result is clipped to [0, 1] once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging import kernels
from dashpot.imaging.operations import Operation

GREY = (0.299, 0.587, 0.114)
"""What red, green and blue count in a pixel's grey (ITU-R BT.601, as in Pillow, OpenCV and torchvision)."""
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """A linear map of the channels of each image; see :func:`linear`.

    Attributes:
        matrix: float64 [n, c, c + 1]; its last column is added.
        about: float64 [n, c, c], times the mean of each channel over the image; None: means do not count.
    """

    matrix: Tensor
    about: Tensor | None = None

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        return linear(x, self.matrix, self.about, unit=unit, owned=owned)

    def join(self, later: Operation) -> Operation | None:
        return composed(self, later) if isinstance(later, Linear) else None


def linear(
    x: Tensor, matrix: Tensor, about: Tensor | None = None, *, unit: bool = False, owned: bool = False
) -> Tensor:
    """``clip(matrix @ (x, 1) + about @ mean(x), 0, 1)`` for each pixel; an image whose map is the identity stays as it
    is, bit for bit.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        matrix: [n, c, c + 1].
        about: [n, c, c], or None.
        unit: of bytes make float32 in [0, 1].
        owned: ``x`` may be written over.
    """
    found = kernels.run("colour", "linear", x, unit, owned, matrix.float(), 0 if about is None else about.float())
    if found is not None:
        return found
    c, v = x.shape[1], kernels.values(x)
    if about is None:
        about = torch.zeros(len(x), c, c, device="cpu")
    same = ((matrix == identity(len(x), c).matrix) & (about == 0).all(2, keepdim=True)).flatten(1).all(1)
    pixels, m, a = v.flatten(2), *(t.to(v.dtype).to(x.device, non_blocking=True) for t in (matrix, about))
    offset = torch.baddbmm(m[:, :, c:], a, pixels.mean(2, keepdim=True))
    out = torch.baddbmm(offset, m[:, :, :c], pixels).clamp(0, 1)
    return kernels.finished(out.view(v.shape), x, unit, same)


def composed(first: Linear, later: Linear) -> Linear:
    """The map that does ``first`` and then ``later``, without a clip between."""
    c = first.matrix.shape[1]
    one, two = first.matrix.numpy(), later.matrix.numpy()
    a, m = one[:, :, :c], two[:, :, :c]
    matrix = np.matmul(m, one)
    matrix[:, :, c:] += two[:, :, c:]
    about = None if first.about is None else np.matmul(m, first.about.numpy())
    if later.about is not None:  # most maps do not ask for means
        q = later.about.numpy()
        matrix[:, :, c:] += np.matmul(q, one[:, :, c:])
        if first.about is None:
            about = np.matmul(q, a)
        else:
            about += np.matmul(q, a + first.about.numpy())
    return _linear(matrix, about)


def _linear(matrix: np.ndarray, about: np.ndarray | None = None) -> Linear:
    return Linear(torch.from_numpy(matrix), None if about is None else torch.from_numpy(about))


def identity(n: int, channels: int) -> Linear:
    """The map of ``n`` images that changes nothing."""
    return _linear(_scaled(np.ones(n), channels))


def _scaled(factor: np.ndarray, channels: int) -> np.ndarray:
    """``factor`` on the diagonals of [n, c, c + 1]."""
    matrix = np.zeros((len(factor), channels, channels + 1))
    for k in range(channels):
        matrix[:, k, k] = factor
    return matrix


def _wide(factor: Tensor) -> np.ndarray:
    return factor.double().numpy()[:, None, None]


def grey(channels: int) -> np.ndarray:
    """The matrix that puts a pixel's grey into every channel: of three channels by :data:`GREY`, else their mean."""
    return np.tile(GREY if channels == 3 else np.full(channels, 1 / channels), (channels, 1))


def brightness(factor: Tensor, channels: int) -> Linear:
    """Each image times its factor [n]: 1 leaves it, 0 is black."""
    return _linear(_scaled(factor.double().numpy(), channels))


def contrast(factor: Tensor, channels: int) -> Linear:
    """Away from the mean grey of the image: 1 leaves it, 0 is one grey."""
    return _linear(_scaled(factor.double().numpy(), channels), (1 - _wide(factor)) * grey(channels))


def saturation(factor: Tensor, channels: int) -> Linear:
    """Away from each pixel's grey: 1 leaves it, 0 is a grey picture; of one channel the identity."""
    if channels == 1:
        return identity(len(factor), 1)
    matrix = _scaled(factor.double().numpy(), channels)
    matrix[:, :, :channels] += (1 - _wide(factor)) * grey(channels)
    return _linear(matrix)


def grayscale(chosen: Tensor, channels: int) -> Linear:
    """Grey pictures where ``chosen`` [n]."""
    return saturation(1 - chosen.double(), channels)


def invert(chosen: Tensor, channels: int) -> Linear:
    """``1 - x`` where ``chosen`` [n]."""
    return _linear(np.where(chosen.numpy()[:, None, None], _negative(channels), np.eye(channels, channels + 1)))


@functools.cache
def _negative(channels: int) -> np.ndarray:
    matrix = -np.eye(channels, channels + 1)
    matrix[:, channels] = 1
    return matrix


def hue(turn: Tensor, channels: int) -> Linear:
    """Colours turned about the grey axis by ``turn`` [n] of a full circle, in the YIQ space of colour television: the
    grey of each pixel stays. Of other than 3 channels, which have no hue, the identity.
    """
    if channels != 3:
        return identity(len(turn), channels)
    angle = 2 * np.pi * _wide(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.zeros((len(turn), 3, 4))
    # R is 1 on the grey axis, and cos, -sin, sin, cos on the plane of colours: a sum of three fixed matrices.
    to, back = np.array(YIQ), np.linalg.inv(YIQ)
    still, along = np.outer(back[:, 0], to[0]), back[:, 1:] @ to[1:]
    across = np.outer(back[:, 2], to[1]) - np.outer(back[:, 1], to[2])
    matrix[:, :, :3] = still + cos * along + sin * across
    matrix[angle[:, 0, 0] == 0] = np.eye(3, 4)
    return _linear(matrix)
