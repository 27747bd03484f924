"""Smooth random fields: cubic B-splines on a coarse grid, spread to all pixels by two small products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ENERGY = 151 / 315
"""The integral of the squared cubic B-spline: the mean variance, along one axis, of a sum of bumps with coefficients of
variance 1."""


def knots_of(height: int, width: int, sigma: float) -> tuple[int, int, float]:
    """The grid of bumps of standard deviation ``sigma`` that reach into a picture: rows, columns, spacing in pixels."""
    spacing = math.sqrt(3) * sigma
    return math.ceil((height - 1) / spacing) + 3, math.ceil((width - 1) / spacing) + 3, spacing


def bumps(pixels: int, knots: int, spacing: float, device: torch.device) -> Tensor:
    """How much of each knot is in each pixel along one axis, float32 [pixels, knots]; knot 1 is at pixel 0."""
    at = torch.arange(pixels, dtype=torch.float32, device=device) / spacing
    far = (at[:, None] + 1 - torch.arange(knots, dtype=torch.float32, device=device)).abs()
    near = 2 / 3 - far.square() * (1 - far / 2)
    return torch.where(far < 1, near, (2 - far).clamp(min=0) ** 3 / 6)


def field(knots: Tensor, spacing: float, height: int, width: int) -> Tensor:
    """The field of ``knots`` [n, 2, rows, columns] at each pixel, [n, 2, height, width]; its standard deviation is that
    of its knots.
    """
    down = bumps(height, knots.shape[2], spacing, knots.device)
    across = bumps(width, knots.shape[3], spacing, knots.device)
    return torch.matmul(down, torch.matmul(knots, across.T / ENERGY))
