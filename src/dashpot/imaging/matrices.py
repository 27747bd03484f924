"""Matrices from output to input pixels, float64 [n, 3, 3]; the centre of the first pixel is (0, 0), y points down."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging.draws import Size

Numbers = np.ndarray
"""One number for each sample, [n]."""


def identity(n: int) -> np.ndarray:
    """Every pixel from its own place."""
    return np.tile(np.eye(3), (n, 1, 1))


def tensor(matrix: np.ndarray) -> Tensor:
    """As operations hold them."""
    return torch.from_numpy(matrix)


def flips(size: Size, horizontal: np.ndarray | None = None, vertical: np.ndarray | None = None) -> np.ndarray:
    """Left for right where ``horizontal`` (bool [n]) says, top for bottom where ``vertical`` does."""
    matrix = identity(size.n)
    for axis, chosen, length in ((0, horizontal, size.width), (1, vertical, size.height)):
        if chosen is not None:
            matrix[chosen, axis, axis], matrix[chosen, axis, 2] = -1, length - 1
    return matrix


def moves(dx: Numbers, dy: Numbers) -> np.ndarray:
    """Read ``dx`` to the right and ``dy`` further down: the content moves by as much to the left and up."""
    matrix = identity(len(dx))
    matrix[:, 0, 2], matrix[:, 1, 2] = dx, dy
    return matrix


def about_centre(inner: np.ndarray, size: Size) -> np.ndarray:
    """The linear maps ``inner`` [n, 2, 2] about the middle of the picture."""
    matrix = identity(len(inner))
    centre = np.array([(size.width - 1) / 2, (size.height - 1) / 2])
    matrix[:, :2, :2] = inner
    matrix[:, :2, 2] = centre - inner @ centre
    return matrix


def rotations(degrees: Numbers, size: Size) -> np.ndarray:
    """The content turns counter-clockwise by ``degrees`` about the middle, as PIL and torchvision count. Exact at
    multiples of 90.
    """
    turns = np.deg2rad(degrees)
    cos, sin = np.cos(turns), np.sin(turns)
    quarter = degrees % 90 == 0
    cos, sin = np.where(quarter, np.round(cos), cos), np.where(quarter, np.round(sin), sin)
    return about_centre(np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2), size)


def zooms(scale_x: Numbers, scale_y: Numbers, size: Size) -> np.ndarray:
    """The content becomes ``scale`` times as large about the middle."""
    inner = np.zeros((len(scale_x), 2, 2))
    inner[:, 0, 0], inner[:, 1, 1] = 1 / scale_x, 1 / scale_y
    return about_centre(inner, size)


def shears(degrees_x: Numbers, degrees_y: Numbers, size: Size) -> np.ndarray:
    """Rows are pushed along x by the tangent of ``degrees_x`` per row, columns along y by that of ``degrees_y``."""
    inner = np.tile(np.eye(2), (len(degrees_x), 1, 1))
    inner[:, 0, 1], inner[:, 1, 0] = np.tan(np.deg2rad(degrees_x)), np.tan(np.deg2rad(degrees_y))
    return about_centre(inner, size)
