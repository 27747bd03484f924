"""Colour as linear maps: brightness, contrast, saturation, hue, grey and invert are one matrix for each image.

A map is ``matrix @ (pixel, 1) + about @ mean``, with the channels of a pixel in [0, 1] and ``mean`` those of the whole
image; two in turn are one again (:func:`composed`), and the result is clipped to [0, 1] once.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        about: float64 [n, c, c], times the mean of each channel over the image; zeros where that does not count.
    """

    matrix: Tensor
    about: Tensor

    def apply(self, x: Tensor, unit: bool = False) -> Tensor:
        return linear(x, self.matrix, self.about, unit=unit)

    def join(self, later: Operation) -> Operation | None:
        return composed(self, later) if isinstance(later, Linear) else None


def linear(x: Tensor, matrix: Tensor, about: Tensor, *, unit: bool = False) -> Tensor:
    """``clip(matrix @ (x, 1) + about @ mean(x), 0, 1)`` for each pixel; an image whose map is the identity stays as it
    is, bit for bit.

    Args:
        x: [n, c, h, w], uint8 or floating point.
        matrix: [n, c, c + 1].
        about: [n, c, c].
        unit: of bytes make float32 in [0, 1].
    """
    found = kernels.run("colour", "linear", x, unit, matrix.float(), about.float())
    if found is not None:
        return found
    c, v = x.shape[1], kernels.values(x)
    same = ((matrix == identity(len(x), c).matrix) & (about == 0).all(2, keepdim=True)).flatten(1).all(1)
    pixels, m, a = v.flatten(2), *(t.to(v.dtype).to(x.device, non_blocking=True) for t in (matrix, about))
    offset = torch.baddbmm(m[:, :, c:], a, pixels.mean(2, keepdim=True))
    out = torch.baddbmm(offset, m[:, :, :c], pixels).clamp(0, 1)
    return kernels.finished(out.view(v.shape), x, unit, same)


def composed(first: Linear, later: Linear) -> Linear:
    """The map that does ``first`` and then ``later``, without a clip between."""
    c = first.matrix.shape[1]
    a, b, p = first.matrix[:, :, :c], first.matrix[:, :, c:], first.about
    m, q = later.matrix[:, :, :c], later.about
    matrix = torch.cat((m @ a, (m + q) @ b + later.matrix[:, :, c:]), 2)
    return Linear(matrix, m @ p + q @ (a + p))


def identity(n: int, channels: int) -> Linear:
    """The map of ``n`` images that changes nothing."""
    matrix = torch.eye(channels, channels + 1, dtype=torch.float64).repeat(n, 1, 1)
    return Linear(matrix, torch.zeros(n, channels, channels, dtype=torch.float64))


def blended(inner: Tensor, factor: Tensor, about: Tensor | None = None) -> Linear:
    """``factor`` of each image and ``1 - factor`` of what ``inner`` [c, c] makes of it (and ``about`` of its mean)."""
    c, f = len(inner), factor.double().view(-1, 1, 1)
    same = torch.eye(c, dtype=torch.float64)
    matrix = torch.cat((f * same + (1 - f) * inner, torch.zeros(len(factor), c, 1, dtype=torch.float64)), 2)
    return Linear(matrix, (1 - f) * (torch.zeros_like(same) if about is None else about))


def grey(channels: int) -> Tensor:
    """The matrix that puts a pixel's grey into every channel: of three channels by :data:`GREY`, else their mean."""
    row = torch.tensor(GREY if channels == 3 else [1 / channels] * channels, dtype=torch.float64)
    return row.repeat(channels, 1)


def brightness(factor: Tensor, channels: int) -> Linear:
    """Each image times its factor [n]: 1 leaves it, 0 is black."""
    return blended(torch.zeros(channels, channels, dtype=torch.float64), factor)


def contrast(factor: Tensor, channels: int) -> Linear:
    """Away from the mean grey of the image: 1 leaves it, 0 is one grey."""
    zero = torch.zeros(channels, channels, dtype=torch.float64)
    return blended(zero, factor, grey(channels))


def saturation(factor: Tensor, channels: int) -> Linear:
    """Away from each pixel's grey: 1 leaves it, 0 is a grey picture; of one channel the identity."""
    return identity(len(factor), 1) if channels == 1 else blended(grey(channels), factor)


def grayscale(chosen: Tensor, channels: int) -> Linear:
    """Grey pictures where ``chosen`` [n]."""
    return saturation(1 - chosen.double(), channels)


def invert(chosen: Tensor, channels: int) -> Linear:
    """``1 - x`` where ``chosen`` [n]."""
    on = chosen.double().view(-1, 1, 1)
    found = identity(len(chosen), channels)
    sign = torch.cat((1 - 2 * on.expand(-1, channels, channels), on.expand(-1, channels, 1)), 2)
    matrix = torch.cat((found.matrix[:, :, :channels] * sign[:, :, :channels], sign[:, :, channels:]), 2)
    return Linear(matrix, found.about)


def hue(turn: Tensor, channels: int) -> Linear:
    """Colours turned about the grey axis by ``turn`` [n] of a full circle, in the YIQ space of colour television: the
    grey of each pixel stays. Of other than 3 channels, which have no hue, the identity.
    """
    if channels != 3:
        return identity(len(turn), channels)
    there = torch.tensor(YIQ, dtype=torch.float64)
    angle = turn.double() * (2 * torch.pi)
    rotation = torch.eye(3, dtype=torch.float64).repeat(len(turn), 1, 1)
    rotation[:, 1, 1] = rotation[:, 2, 2] = torch.cos(angle)
    rotation[:, 1, 2], rotation[:, 2, 1] = -torch.sin(angle), torch.sin(angle)
    turned = torch.linalg.solve(there, rotation @ there)
    matrix = torch.cat((turned, torch.zeros(len(turn), 3, 1, dtype=torch.float64)), 2)
    plain = identity(len(turn), 3)
    return Linear(torch.where((turn == 0).view(-1, 1, 1), plain.matrix, matrix), plain.about)
