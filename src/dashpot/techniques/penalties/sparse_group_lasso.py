"""Sparse group lasso: whole groups at zero, and zeros inside those that stay."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.fast import KernelTerms
from dashpot.techniques.penalties.group_lasso import group_lasso_value
from dashpot.techniques.penalties.group_penalty import GroupPenalty
from dashpot.techniques.penalties.groups import group_stationarity, group_threshold
from dashpot.techniques.penalties.l1 import l1_stationarity, l1_value, soft_threshold
from dashpot.techniques.penalties.proximal import Scalar


def sparse_group_prox(
    w: Float[Tensor, "*shape"],
    step: float | Float[Tensor, "*#shape"],
    strength: Scalar,
    l1_ratio: Scalar,
    dims: tuple[int, ...],
    size: float | Tensor,
) -> Float[Tensor, "*shape"]:
    """Soft threshold, then group threshold: the two maps compose exactly, in a diagonal metric too."""
    return group_threshold(soft_threshold(w, step * strength * l1_ratio), step, strength * (1 - l1_ratio) * size, dims)


def sparse_group_stationarity(
    w: Float[Tensor, "*shape"],
    grad: Float[Tensor, "*shape"],
    strength: Scalar,
    l1_ratio: Scalar,
    dims: tuple[int, ...],
    size: float | Tensor,
) -> Float[Tensor, "*shape"]:
    """Of a zero group: the group's distance after its soft threshold. Elsewhere: L1's, the group's slope added to
    ``grad``.
    """
    thresholds = strength * l1_ratio, strength * (1 - l1_ratio) * size
    zero = (w == 0).all(dims[0], keepdim=True) if len(dims) == 1 else (w.abs().sum(dims, keepdim=True) == 0)
    off = l1_stationarity(
        w, grad + thresholds[1] * w / w.square().sum(dims, keepdim=True).sqrt().masked_fill(zero, 1), thresholds[0]
    )
    at = group_stationarity(w, soft_threshold(grad, thresholds[0]), thresholds[1], dims)
    return off * ~zero + at * zero


class SparseGroupLasso(GroupPenalty):
    r"""Group lasso and L1 together: whole groups become zero, and single weights inside the groups that stay.

    .. math:: \mathrm{strength}\Big(\rho \sum_i |w_i| + (1-\rho) \sum_g \sqrt{|g|}\, \lVert w_g \rVert_2\Big)

    The map is the soft threshold followed by the group threshold, exactly.

    Args:
        strength, relative, scaling, on: as for :class:`L1`.
        groups, size_weights: as for :class:`GroupLasso`.
        l1_ratio: ρ in [0, 1]: 1 is L1, 0 is the group lasso.

    Raises:
        ConfigError: at attach, a grouping that does not divide a parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> penalty = dashpot.SparseGroupLasso(strength=1.0, l1_ratio=0.5, size_weights=False)
        >>> penalty.prox(torch.tensor([[3.5, 0.4], [0.6, 0.6]]), step=1.0)
        tensor([[2.5000, 0.0000],
                [0.0000, 0.0000]])

    Paper: Simon, Friedman, Hastie and Tibshirani, "A Sparse-Group Lasso", JCGS 2013.

    When not to use it: where only whole groups matter (smaller layers), :class:`GroupLasso` has one strength fewer to
    tune.
    """

    summary = "soft-thresholds weights and group norms"

    l1_ratio: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.95))] = 0.5

    def kernel_terms(self) -> KernelTerms | None:
        if not self.kernel_groups():
            return None
        return KernelTerms(l1=self.strength * self.l1_ratio, group=self.strength * (1 - self.l1_ratio))

    def folded_value(
        self, w: Float[Tensor, "*shape"], strength: Scalar, dims: tuple[int, ...], size: float | Tensor
    ) -> Float[Tensor, ""]:
        return l1_value(w, strength * self.l1_ratio) + group_lasso_value(w, strength * (1 - self.l1_ratio), dims, size)

    def folded_prox(
        self,
        w: Float[Tensor, "*shape"],
        step: float | Float[Tensor, "*#shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return sparse_group_prox(w, step, strength, self.l1_ratio, dims, size)

    def folded_stationarity(
        self,
        w: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return sparse_group_stationarity(w, grad, strength, self.l1_ratio, dims, size)
