"""Non-negativity: weights stay at or above zero."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dashpot.techniques.penalties.constraint import Constraint


def positive_part(w: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """``max(w, 0)``."""
    return w.clamp(min=0)


class NonNegative(Constraint):
    r"""Keep weights at or above zero.

    .. math:: w \ge 0, \qquad w \leftarrow \max(w, 0)

    The projection is the same in every diagonal metric. Weights that the loss wants negative are exactly zero.

    Args:
        scaling: has no effect on the map; with ``"decoupled"`` any optimizer will do.
        on: as for :class:`L1`.

    Raises:
        ConflictError: as for :class:`L1`.

    Example:
        >>> import torch, dashpot
        >>> dashpot.NonNegative().prox(torch.tensor([1.0, -2.0]), step=1.0)
        tensor([1., 0.])

    Paper: Lee and Seung, "Learning the Parts of Objects by Non-negative Matrix Factorization", Nature 1999; Chorowski
    and Zurada, "Learning Understandable Neural Networks with Nonnegative Weight Constraints", IEEE TNNLS 2015.

    When not to use it: where effects may be negative, unless the network has another way to express them (an inverted
    input).
    """

    summary = "keeps weights at or above zero"
    separable = True
    waivers = {"off": "a sign has no strength; leave it out to switch it off"}  # noqa: RUF012

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        return positive_part(w)

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """``|grad|`` inside; at zero only what would pull the weight up."""
        return grad.abs() * (w > 0) + (-grad).relu() * (w == 0) + w.abs() * (w < 0)
