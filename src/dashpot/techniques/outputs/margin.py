"""Margin: the true class must win by more."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.outputs.by_target import ByTarget


def margin_term(nll: Float[Tensor, "*shape"], margin: float | Float[Tensor, "..."]) -> Float[Tensor, "*shape"]:
    """``log(1 + (1 - p) (exp(margin) - 1))`` with ``p = exp(-nll)``: what a true logit that is lower adds."""
    more = torch.expm1(margin) if isinstance(margin, Tensor) else math.expm1(margin)
    return torch.log1p(-torch.expm1(-nll) * more)


class Margin(ByTarget):
    r"""Lower the logit of what is true while training, so that it must win by more than a little.

    .. math:: \ell_m = -\log \frac{e^{z_y - m}}{e^{z_y - m} + \sum_{c \ne y} e^{z_c}}
        = -\log p_y + \log\big(1 + (1-p_y)(e^m - 1)\big)

    Loss, targets and shapes are as for :class:`FocalLoss`: cross entropy, of classes or of yes/no labels; of a target
    that is a distribution each part is taken with its own margin, so that the loss stays linear in the target.

    Args:
        margin: m >= 0, in logits. 0 is off; 0.2 to 2 is usual.

    Raises:
        ConfigError: a margin below 0.
        ConflictError: targets that are values.
        UsageError, DataError: as for :class:`FocalLoss`.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.outputs.Margin(0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> lowered = out - 0.5 * torch.nn.functional.one_hot(y, 3)
        >>> bool(torch.isclose(loss, torch.nn.functional.cross_entropy(lowered, y)))
        True

    Paper: Wang et al., "Additive Margin Softmax for Face Verification", IEEE Signal Processing Letters 2018, arXiv
    1801.05599, there on cosines; on logits, larger for rare classes: Menon et al., "Long-Tail Learning via Logit
    Adjustment", ICLR 2021, arXiv 2007.07314.

    When not to use it: with wrong labels; where probabilities are read without a temperature, since the network is
    trained to be surer than it is right; with a network whose logits can grow without end, which makes up for any
    margin, unless weights are decayed.
    """

    summary = "lowers the logit of the true class by a margin"
    number = "margin"

    margin: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=0.5, kw_only=False
    )

    @staticmethod
    def term(nll: Tensor, number: float | Tensor) -> Tensor:
        return margin_term(nll, number)
