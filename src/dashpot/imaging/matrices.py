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
    matrix = np.zeros((n, 3, 3))
    matrix[:, (0, 1, 2), (0, 1, 2)] = 1
    return matrix


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


def quadrilaterals(inwards: np.ndarray, size: Size) -> np.ndarray:
    """The corners of the picture move inwards: top left, top right, bottom right, bottom left by ``inwards`` [n, 4, 2]
    (x, y), as parts of width and height. The last row of such matrices is not (0, 0, 1).

    By Heckbert's closed form of the map from the unit square to a quadrilateral, inverted.
    """
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    far = np.array([max(size.width - 1, 1), max(size.height - 1, 1)], dtype=np.float64)
    sides = np.array([size.width, size.height]) / far
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    corner = square + signs * inwards * sides
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corner.transpose(1, 2, 0)
    dx1, dy1, dx2, dy2 = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / area, (dx1 * sy - sx * dy1) / area
    rows = [x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h, np.ones_like(g)]
    forward = np.stack(rows, axis=-1).reshape(-1, 3, 3)
    scale = np.diag([*far, 1.0])
    backward: np.ndarray = scale @ np.linalg.inv(forward) @ np.linalg.inv(scale)
    return backward
