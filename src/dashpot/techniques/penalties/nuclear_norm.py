"""Nuclear norm: low rank, by soft thresholding of singular values."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.running.tensors import beside
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar, Scaling


def nuclear_value(w: Float[Tensor, "*parts rows columns"], strength: Scalar) -> Float[Tensor, ""]:
    """``strength`` times the sum of singular values, of all matrices where there are several; NaN where some value is
    not finite.
    """
    wide = torch.promote_types(w.dtype, torch.float32)
    finite = w.isfinite().all()
    total: Tensor = strength * torch.linalg.svdvals(torch.where(finite, w, 0).to(wide)).sum()
    return torch.where(finite, total, torch.nan).to(w.dtype)


def nuclear_prox(
    w: Float[Tensor, "*parts rows columns"], step: Scalar, strength: Scalar
) -> Float[Tensor, "*parts rows columns"]:
    """Every singular value less ``step * strength``, at least 0. A matrix that is not finite stays: it has none."""
    wide = torch.promote_types(w.dtype, torch.float32)
    finite = w.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    u, s, v = torch.linalg.svd(torch.where(finite, w, 0).to(wide), full_matrices=False)
    low = ((u * (s - step * strength).relu().unsqueeze(-2)) @ v).to(w.dtype)
    # Taking apart and putting together again rounds; at strength 0 nothing may change.
    return torch.where(finite & (beside(step * strength, w, wide) != 0), low, w)


class NuclearNorm(Penalty):
    r"""Penalize the sum of the singular values of each weight matrix; small ones become exactly zero, and the rank
    falls.

    .. math:: \mathrm{strength} \sum_i \sigma_i(W), \qquad \sigma_i \leftarrow \max(\sigma_i - s\,\mathrm{strength}, 0)

    Convolutions are taken as [filters, everything else]; a weight that stacks several matrices (gates, projections,
    the groups of a convolution) as each of them.

    Args:
        strength, relative, on: as for :class:`L1`. In the decoupled metric a strength is per
            unit of learning rate.
        scaling: ``"decoupled"`` (default here): threshold lr x strength. ``"adaptive"`` needs an optimizer with one
            step for the whole matrix (SGD); with a step for each weight the map has no closed form, and it is refused.

    Raises:
        ConflictError: ``scaling="adaptive"`` with an adaptive optimizer.

    Example:
        >>> import torch, dashpot
        >>> w = torch.diag(torch.tensor([3.0, 0.5]))
        >>> dashpot.NuclearNorm(strength=1.0).prox(w, step=1.0).abs()
        tensor([[2., 0.],
                [0., 0.]])

    Paper: Cai, Candès and Shen, "A Singular Value Thresholding Algorithm for Matrix Completion", SIAM J. Optim. 2010.

    When not to use it: on matrices with thousands of rows and columns: it takes a singular value decomposition at each
    step.
    """

    summary = "soft-thresholds singular values; lowers the rank"
    scalar_only = True

    scaling: Scaling = "decoupled"

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return nuclear_value(self.axes.matrices(w), strength)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return self.axes.restored(nuclear_prox(self.axes.matrices(w), step, strength), w.shape)
