"""Hard thresholding to a given share of weights: k-sparse tensors."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.tensors import beside
from dashpot.techniques.penalties.constraint import Constraint
from dashpot.techniques.penalties.proximal import Scalar


def metric_size(w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    """``w^2 / step``, by which sizes are compared; ``w^2`` where the step is 0 (a learning rate at 0), since x / 0 has
    no order.
    """
    step = beside(step, w)
    return w.square() / torch.where(step > 0, step, 1)


def keep_largest(
    w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"], keep: Scalar
) -> Float[Tensor, "*shape"]:
    """The ``round(keep * numel)`` weights with the largest ``w^2 / step``, the others 0; of equals the earlier stay."""
    score = metric_size(w, step).reshape(-1)
    order = score.argsort(descending=True, stable=True)
    rank = torch.empty_like(order).scatter(0, order, torch.arange(order.numel(), device=order.device))
    count = torch.round(beside(keep, w, torch.float64) * order.numel())
    return torch.where((rank < count).reshape(w.shape), w, torch.zeros_like(w))


class HardThreshold(Constraint):
    r"""Keep a given share of each tensor's weights, the largest, and set the others to zero at every step (iterative
    hard thresholding).

    .. math:: \lVert w \rVert_0 \le k, \qquad k = \mathrm{round}(\mathrm{keep} \cdot n)

    The sparsity is exact and chosen beforehand, where the penalties leave it to the strength. Zeroed weights go on
    receiving gradients, and come back when an update makes them one of the largest. In the adaptive metric "largest" is
    by ``w^2 / step``, which is the projection there.

    Args:
        keep: the share of weights that stay, in [0, 1]; 1 is off.
        scaling, on: as for :class:`L1`; each tensor by itself.

    Raises:
        ConfigError: ``keep`` outside [0, 1].
        ConflictError: as for :class:`L1`.

    Example:
        >>> import torch, dashpot
        >>> dashpot.HardThreshold(keep=0.5).prox(torch.tensor([3.0, -1.0, 2.0, 0.5]), step=1.0)
        tensor([3., 0., 2., 0.])

    Paper: Blumensath and Davies, "Iterative Hard Thresholding for Compressed Sensing", ACHA 2009; Jin, Yuan, Feng and
    Yan, "Training Skinny Deep Neural Networks with Iterative Hard Thresholding Methods", 2016.

    When not to use it: from the first step at a small share, since random initial sizes then decide; it sorts each
    tensor at each step.
    """

    summary = "keeps a share of the weights, the largest"
    convex = False

    keep: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.8), log=True, off=1.0)] = field(default=0.1, kw_only=False)

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        return keep_largest(w, step, self.keep)

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """``|grad|`` of the weights that stay."""
        return grad.abs() * (w != 0)
