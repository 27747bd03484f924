"""Elastic net: L1 and L2 in one proximal step."""

from __future__ import annotations

import math
from typing import Annotated, Any

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range, check_number
from dashpot.techniques.penalties.fast import KernelTerms
from dashpot.techniques.penalties.l1 import l1_stationarity, l1_value, soft_threshold
from dashpot.techniques.penalties.l2 import l2_gradient, l2_value
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.proximal import Scalar


def elastic_net_value(w: Float[Tensor, "*shape"], strength: Scalar, l1_ratio: Scalar) -> Float[Tensor, ""]:
    """``strength * (l1_ratio * sum |w| + (1 - l1_ratio) / 2 * sum w^2)``."""
    return l1_value(w, strength * l1_ratio) + l2_value(w, strength * (1 - l1_ratio))


def elastic_net_prox(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar, l1_ratio: Scalar
) -> Float[Tensor, "*shape"]:
    """Soft threshold, then shrink: ``soft(w, step * strength * l1_ratio) / (1 + step * strength * (1 - l1_ratio))``."""
    return soft_threshold(w, step * strength * l1_ratio) / (1 + step * strength * (1 - l1_ratio))


def elastic_net_stationarity(
    w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar, l1_ratio: Scalar
) -> Float[Tensor, "*shape"]:
    """That of L1, with the quadratic part's gradient added to ``grad``."""
    return l1_stationarity(w, grad + l2_gradient(w, strength * (1 - l1_ratio)), strength * l1_ratio)


class ElasticNet(Penalty):
    r"""Penalize absolute and squared weights together; exact zeros, and correlated weights stay together.

    .. math:: \mathrm{strength}\Big(\rho \sum_i |w_i| + \tfrac{1-\rho}{2} \sum_i w_i^2\Big), \qquad
              w \leftarrow \frac{\mathrm{soft}(w,\; s\,\mathrm{strength}\,\rho)}{1 + s\,\mathrm{strength}\,(1-\rho)}

    Both parts are in the map, under the optimizer's own step s: decoupled decay would not be the quadratic part of this
    objective under Adam.

    Args:
        strength: >= 0; 0 is off. scikit-learn's ``ElasticNet(alpha, l1_ratio)`` divides the squared error by 2n: for a
            mean squared error, ``strength = 2 * alpha``.
        l1_ratio: ρ in [0, 1]: 1 is L1, 0 is L2.
        relative, scaling, on: as for :class:`L1`.

    Raises:
        ConflictError: as for :class:`L1`.

    Example:
        >>> import torch, dashpot
        >>> penalty = dashpot.ElasticNet(strength=1.0, l1_ratio=0.5)
        >>> penalty.prox(torch.tensor([2.0, -0.4, 0.0]), step=1.0)
        tensor([1., -0., 0.])

    Paper: Zou and Hastie, "Regularization and Variable Selection via the Elastic Net", JRSS B 2005.

    When not to use it: where one strength is enough; it adds a second one to tune.
    """

    summary = "soft-thresholds and shrinks weights"
    separable = True

    l1_ratio: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.9))] = 0.5

    @classmethod
    def from_sklearn(cls, alpha: float, l1_ratio: float = 0.5, **fields: Any) -> ElasticNet:
        """The penalty of scikit-learn's ``ElasticNet(alpha, l1_ratio)``, for a mean squared error: ``strength = 2 *
        alpha`` at the same ratio.

        Args:
            alpha, l1_ratio: as scikit-learn's.
            fields: ``scaling`` and ``on``.

        Example:
            >>> import dashpot
            >>> print(dashpot.ElasticNet.from_sklearn(0.1, l1_ratio=0.9))
            ElasticNet(strength=0.2, l1_ratio=0.9)
        """
        return cls(2 * check_number("alpha", alpha, Range(0.0, math.inf)), l1_ratio=l1_ratio, **fields)

    def kernel_terms(self) -> KernelTerms | None:
        return KernelTerms(l1=self.strength * self.l1_ratio, l2=self.strength * (1 - self.l1_ratio))

    def penalty_value(self, w: Float[Tensor, "*shape"], strength: Scalar) -> Float[Tensor, ""]:
        return elastic_net_value(w, strength, self.l1_ratio)

    def penalty_prox(
        self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return elastic_net_prox(w, step, strength, self.l1_ratio)

    def penalty_stationarity(
        self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"], strength: Scalar
    ) -> Float[Tensor, "*shape"]:
        return elastic_net_stationarity(w, grad, strength, self.l1_ratio)
