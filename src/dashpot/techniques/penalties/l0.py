"""L0: a price on every weight that is not zero."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar


def l0_value(w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
    """``strength`` times the number of weights that are not zero."""
    return strength * (w != 0).sum().to(w.dtype)


def l0_prox(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
) -> Float[Tensor, "*shape"]:
    """``w`` where ``w^2 > 2 * step * strength``, else 0."""
    return torch.where(w.square() <= 2 * step * strength, torch.zeros_like(w), w)


def l0_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
) -> Float[Tensor, "*shape"]:
    """``|grad|`` off zero; at zero every gradient is stationary."""
    return grad.abs() * (w != 0)


class L0(Penalty):
    r"""Penalize the number of weights that are not zero, by hard thresholding.

    .. math:: \mathrm{strength}\; \lVert w \rVert_0, \qquad w \leftarrow w\; [\,w^2 > 2\, s\, \mathrm{strength}\,]

    Args:
        strength, scaling, on: as for :class:`L1`.
        relative: refused when it is made absolute, since no strength is needed to keep a zero at zero.

    Raises:
        ConfigError: both ``strength`` and ``relative``; ``relative`` when it is made absolute.
        ConflictError: as for :class:`L1`.

    Example:
        >>> import torch, dashpot
        >>> dashpot.L0(strength=0.5).prox(torch.tensor([0.9, 1.1, -3.0]), step=1.0)
        tensor([ 0.0000,  1.1000, -3.0000])

    Paper: Blumensath and Davies, "Iterative Thresholding for Sparse Approximations", J. Fourier Anal. Appl. 2008.

    When not to use it: from small initial weights, which it zeroes at once: begin later
    (``strength="1e-4@from=20%"``) or start from a trained network. A weight at zero comes back only by a large step.
    """

    summary = "hard-thresholds weights"
    separable = True
    convex = False

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return l0_value(w, strength)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return l0_prox(w, step, strength)

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return l0_stationarity(w, grad, strength)
