"""Focal loss: samples that are right already count less."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.outputs.by_target import ByTarget


def focal_change(nll: Float[Tensor, "*shape"], gamma: float | Float[Tensor, "..."]) -> Float[Tensor, "*shape"]:
    """``((1 - p) ** gamma - 1) * nll`` with ``p = exp(-nll)``: what turns cross entropy into focal loss."""
    # 1 - p by expm1 keeps its digits near p = 1; above 0 the power has a derivative.
    missing = -torch.expm1(-nll)
    return (missing.clamp(min=torch.finfo(nll.dtype).tiny) ** gamma - 1) * nll


class FocalLoss(ByTarget):
    r"""Count samples less whose target the network gives a high probability already.

    .. math:: \ell_f = (1-p_y)^\gamma \cdot (-\log p_y)

    The loss must be cross entropy, of classes or of yes/no labels; class weights are given as sample weights, to
    ``session.batch(x, y, weight)``. Of a target that is a distribution (Mixup, soft labels) each part is taken with its
    own probability, so that the loss stays linear in the target. Beside :class:`LabelSmoothing` the plain loss is
    smoothed. Positions with ``ignore_index`` stay out.

    Args:
        gamma: γ >= 0. 0 is off; 0.5 to 5 is usual, the paper has 2.

    Raises:
        ConflictError: targets that are values.
        UsageError: ``session.loss`` got no ``out`` or knows no target, or their shapes do not fit the loss.
        DataError: yes/no targets outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.outputs.FocalLoss(2.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> p = out.softmax(1)[range(6), y]
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> bool(torch.isclose(loss, ((1 - p) ** 2 * -p.log()).mean()))
        True

    Paper: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002; as a regularizer:
    Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.

    When not to use it: with wrong labels, which it makes count most; where probabilities must be right without a
    temperature, since its minimum is not at the true ones; it is no cure for classes of unequal size by itself.
    """

    summary = "counts samples less that are right already"
    number = "gamma"

    gamma: Annotated[float, Range(0.0, float("inf"), search=(0.5, 5.0), log=True, off=0.0)] = field(
        default=2.0, kw_only=False
    )

    @staticmethod
    def term(nll: Tensor, number: float | Tensor) -> Tensor:
        return focal_change(nll, number)
