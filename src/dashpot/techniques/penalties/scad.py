"""SCAD: exact zeros without shrinking large weights."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar


def scad_each(size: Float[Tensor, "*shape"], strength: Scalar, a: Scalar) -> Float[Tensor, "*shape"]:
    """The penalty of each weight of absolute value ``size``."""
    middle = (2 * a * strength * size - size.square() - strength**2) / (2 * (a - 1))
    flat = torch.zeros_like(size) + strength**2 * (a + 1) / 2
    return torch.where(size <= strength, strength * size, torch.where(size <= a * strength, middle, flat))


def scad_value(w: Float[Tensor, "*shape"], strength: Scalar, a: Scalar) -> Float[Tensor, ""]:
    """The sum of :func:`scad_each`."""
    return scad_each(w.abs(), strength, a).sum()


def scad_prox(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar, a: Scalar
) -> Float[Tensor, "*shape"]:
    """The minimizer, in closed form for steps below ``a - 1``. For longer ones the problem is not convex, and the
    better of the outer pieces' minimizers is taken.
    """
    size = w.abs()
    zero = torch.zeros_like(size)
    step = zero + step
    knee, flat = zero + strength, zero + a * strength
    room = a - 1 - step
    near = (size - step * strength).relu()
    middle = ((a - 1) * size - step * a * strength) / torch.where(room > 0, room, 1)
    short = torch.where(size <= (1 + step) * strength, near, torch.where(size <= flat, middle, size))
    # Long steps: the middle piece is concave, so that one of its ends is best there, and the other pieces have both
    # ends.
    low, high = torch.minimum(near, knee), torch.maximum(size, flat)
    price_low = (low - size).square() / 2 + step * scad_each(low, strength, a)
    price_high = (high - size).square() / 2 + step * scad_each(high, strength, a)
    best = torch.where(room > 0, short, torch.where(price_low < price_high, low, high))
    # Without a step nothing may change, not even by the rounding of the middle piece.
    return torch.where(size.isnan() | (step == 0), w, w.sign() * best)


def scad_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar, a: Scalar
) -> Float[Tensor, "*shape"]:
    """``|grad + slope * sign(w)|`` off zero, slope falling from strength to 0 over [strength, a * strength]; as L1's at
    zero.
    """
    slope = ((a * strength - w.abs()) / (a - 1)).clamp(min=0)
    slope = torch.minimum(slope, torch.zeros_like(slope) + strength)
    return (grad + slope * w.sign()).abs() * (w != 0) + (grad.abs() - strength).relu() * (w == 0)


class SCAD(Penalty):
    r"""Smoothly clipped absolute deviation: L1 near zero, no penalty growth, hence no shrinking, of weights above a x
    strength.

    .. math:: p'(w) = \mathrm{strength}\;
        \min\!\Big(1, \frac{(a\,\mathrm{strength} - |w|)_+}{(a-1)\,\mathrm{strength}}\Big)

    Args:
        strength, relative, scaling, on: as for :class:`L1`. The strength is also a size of
            weights here: those above a x strength are left alone.
        a: > 2; large is near L1.

    Raises:
        ConfigError: ``a <= 2``.

    Example:
        >>> import torch, dashpot
        >>> dashpot.SCAD(strength=1.0, a=3.0).prox(torch.tensor([0.5, 1.5, 2.5, 10.0]), step=1.0)
        tensor([ 0.0000,  0.5000,  2.0000, 10.0000])

    Paper: Fan and Li, "Variable Selection via Nonconcave Penalized Likelihood and its Oracle Properties", JASA 2001.

    When not to use it: it is not convex, so that results depend on the starting point; begin from an L1 solution.
    """

    summary = "soft-thresholds small weights and leaves large ones alone"
    separable = True
    convex = False

    a: Annotated[float, Range(2.0, float("inf"), search=(2.5, 10.0), open="low")] = 3.7

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return scad_value(w, strength, self.a)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return scad_prox(w, step, strength, self.a)

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return scad_stationarity(w, grad, strength, self.a)
