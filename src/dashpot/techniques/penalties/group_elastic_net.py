"""Group elastic net: group lasso and L2 in one proximal step."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.fast import KernelTerms
from dashpot.techniques.penalties.group_lasso import group_lasso_value
from dashpot.techniques.penalties.group_penalty import GroupPenalty
from dashpot.techniques.penalties.groups import group_stationarity, group_threshold
from dashpot.techniques.penalties.l2 import l2_gradient, l2_value
from dashpot.techniques.penalties.proximal import Scalar


def group_elastic_net_prox(
    w: Float[Tensor, "*shape"],
    step: float | Float[Tensor, "*#shape"],
    strength: Scalar,
    l1_ratio: Scalar,
    dims: tuple[int, ...],
    size: float | Tensor,
) -> Float[Tensor, "*shape"]:
    """The group threshold of the shrunk weight ``w / (1 + step * l2)`` under the shrunk step ``step / (1 + step *
    l2)``.
    """
    shrink = 1 + step * strength * (1 - l1_ratio)
    return group_threshold(w / shrink, step / shrink, strength * l1_ratio * size, dims)


class GroupElasticNet(GroupPenalty):
    r"""Penalize group norms and squared weights together: whole groups become zero, correlated groups stay together.

    .. math:: \mathrm{strength}\Big(\rho \sum_g \sqrt{|g|}\, \lVert w_g \rVert_2 + \tfrac{1-\rho}{2} \sum_i w_i^2\Big)

    Args:
        strength, relative, scaling, on: as for :class:`L1`.
        groups, size_weights: as for :class:`GroupLasso`.
        l1_ratio: ρ in [0, 1]: 1 is the group lasso, 0 is L2.

    Raises:
        ConfigError: at attach, a grouping that does not divide a parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> penalty = dashpot.GroupElasticNet(strength=2.0, l1_ratio=0.5, size_weights=False)
        >>> penalty.prox(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), step=1.0)
        tensor([[1.2000, 1.6000],
                [0.0000, 0.0000]])

    Paper: Zou and Hastie, "Regularization and Variable Selection via the Elastic Net", JRSS B 2005, with the group norm
    of Yuan and Lin, JRSS B 2006.

    When not to use it: where one strength is enough.
    """

    summary = "shrinks weights and group norms; whole groups become exact zeros"

    l1_ratio: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.9))] = 0.5

    def kernel_terms(self) -> KernelTerms | None:
        if not self.kernel_groups():
            return None
        return KernelTerms(l2=self.strength * (1 - self.l1_ratio), group=self.strength * self.l1_ratio)

    def folded_value(
        self, w: Float[Tensor, "*shape"], strength: Scalar, dims: tuple[int, ...], size: float | Tensor
    ) -> Float[Tensor, ""]:
        return group_lasso_value(w, strength * self.l1_ratio, dims, size) + l2_value(w, strength * (1 - self.l1_ratio))

    def folded_prox(
        self,
        w: Float[Tensor, "*shape"],
        step: float | Float[Tensor, "*#shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return group_elastic_net_prox(w, step, strength, self.l1_ratio, dims, size)

    def folded_stationarity(
        self,
        w: Float[Tensor, "*shape"],
        grad: Float[Tensor, "*shape"],
        strength: Scalar,
        dims: tuple[int, ...],
        size: float | Tensor,
    ) -> Float[Tensor, "*shape"]:
        return group_stationarity(
            w, grad + l2_gradient(w, strength * (1 - self.l1_ratio)), strength * self.l1_ratio * size, dims
        )
