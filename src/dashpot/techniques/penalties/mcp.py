"""MCP: exact zeros, shrinking that fades out with the size of a weight."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar


def mcp_each(size: Float[Tensor, "*shape"], strength: Scalar, gamma: Scalar) -> Float[Tensor, "*shape"]:
    """The penalty of each weight of absolute value ``size``."""
    clipped = torch.minimum(size, torch.zeros_like(size) + gamma * strength)
    return strength * clipped - clipped.square() / (2 * gamma)


def mcp_value(w: Float[Tensor, "*shape"], strength: Scalar, gamma: Scalar) -> Float[Tensor, ""]:
    """The sum of :func:`mcp_each`."""
    return mcp_each(w.abs(), strength, gamma).sum()


def mcp_prox(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar, gamma: Scalar
) -> Float[Tensor, "*shape"]:
    """The minimizer in closed form; for steps of gamma and more, where the problem is not convex, it is a hard
    threshold at ``sqrt(step * gamma) * strength``.
    """
    size = w.abs()
    zero = torch.zeros_like(size)
    step = zero + step
    flat = zero + gamma * strength
    room = 1 - step / gamma
    short = torch.where(size <= flat, (size - step * strength).relu() / torch.where(room > 0, room, 1), size)
    long = torch.where(size.square() <= step * gamma * strength**2, zero, size)
    return torch.where(size.isnan(), w, w.sign() * torch.where(room > 0, short, long))


def mcp_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar, gamma: Scalar
) -> Float[Tensor, "*shape"]:
    """``|grad + max(strength - |w| / gamma, 0) * sign(w)|`` off zero; as L1's at zero."""
    slope = (strength - w.abs() / gamma).clamp(min=0)
    return (grad + slope * w.sign()).abs() * (w != 0) + (grad.abs() - strength).relu() * (w == 0)


class MCP(Penalty):
    r"""Minimax concave penalty: L1's slope at zero, falling to none at gamma x strength, so that large weights are not
    shrunk.

    .. math:: p(w) = \mathrm{strength}\,|w| - \frac{w^2}{2\gamma}
        \;\text{ for } |w| \le \gamma\,\mathrm{strength}, \text{ constant beyond}

    Args:
        strength, relative, scaling, on: as for :class:`L1`. The strength is also a size of
            weights here: those above gamma x strength are left alone.
        gamma: > 1; large is near L1, small near a hard threshold.

    Raises:
        ConfigError: ``gamma <= 1``.

    Example:
        >>> import torch, dashpot
        >>> dashpot.MCP(strength=1.0, gamma=2.0).prox(torch.tensor([0.5, 1.5, 10.0]), step=1.0)
        tensor([ 0.,  1., 10.])

    Paper: Zhang, "Nearly Unbiased Variable Selection under Minimax Concave Penalty", Annals of Statistics 2010.

    When not to use it: it is not convex, so that results depend on the starting point; begin from an L1 solution.
    """

    summary = "thresholds small weights and leaves large ones alone"
    separable = True
    convex = False

    gamma: Annotated[float, Range(1.0, float("inf"), search=(1.5, 10.0), open="low")] = 3.0

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return mcp_value(w, strength, self.gamma)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return mcp_prox(w, step, strength, self.gamma)

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return mcp_stationarity(w, grad, strength, self.gamma)
