"""Margin: the true class must win by more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.techniques.labels.prior import Shares, demand_classes
from dashpot.techniques.outputs.by_target import ByTarget
from dashpot.techniques.outputs.judged import Judged


def margin_term(nll: Float[Tensor, "*shape"], margin: float | Float[Tensor, "..."]) -> Float[Tensor, "*shape"]:
    """``log(1 + (1 - p) (exp(margin) - 1))`` with ``p = exp(-nll)``: what a true logit that is lower adds."""
    more = torch.expm1(margin) if isinstance(margin, Tensor) else math.expm1(margin)
    return torch.log1p(-torch.expm1(-nll) * more)


def margin_factors(prior: Sequence[float]) -> list[float]:
    """The margin of each class as a share of that of the rarest one: ``(least / share) ** (1 / 4)``. A class without
    rows has the largest.

    >>> margin_factors([16 / 17, 1 / 17])
    [0.5, 1.0]
    """
    least = min(share for share in prior if share > 0)
    return [(least / share) ** 0.25 if share > 0 else 1.0 for share in prior]


class Margin(ByTarget):
    r"""Lower the logit of what is true while training, so that it must win by more than a little.

    .. math:: \ell_m = -\log \frac{e^{z_y - m}}{e^{z_y - m} + \sum_{c \ne y} e^{z_c}}
        = -\log p_y + \log\big(1 + (1-p_y)(e^m - 1)\big)

    Loss, targets and shapes are as for :class:`FocalLoss`: cross entropy, of classes or of yes/no labels; of a target
    that is a distribution each part is taken with its own margin, so that the loss stays linear in the target.

    With the shares of the classes rarer ones have larger margins, :math:`m_c = m\, (\pi_{\min} / \pi_c)^{1/4}`, so that
    few rows are kept further from the border than many.

    Args:
        margin: m >= 0, in logits. 0 is off; 0.2 to 2 is usual. With a prior it is that of the rarest class.
        prior: the shares of the classes in training, as :func:`dashpot.labels.class_prior` counts them, numbers >= 0
            that sum to 1; None: one margin for all.

    Raises:
        ConfigError: a margin below 0.
        ConflictError: targets that are values.
        UsageError, DataError: as for :class:`FocalLoss`; a prior of another number of classes, or of yes/no labels.

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
    1801.05599, there on cosines; the fourth root: Cao et al., "Learning Imbalanced Datasets with
    Label-Distribution-Aware Margin Loss", NeurIPS 2019, arXiv 1906.07413; on logits: Menon et al., "Long-Tail Learning
    via Logit Adjustment", ICLR 2021, arXiv 2007.07314.

    When not to use it: with wrong labels; where probabilities are read without a temperature, since the network is
    trained to be surer than it is right; with a network whose logits can grow without end, which makes up for any
    margin, unless weights are decayed.
    """

    summary = "lowers the logit of the true class by a margin"
    number = "margin"

    margin: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=0.5, kw_only=False
    )
    prior: Annotated[tuple[float, ...] | None, Shares()] = None

    def factors(self, found: Judged) -> list[float] | None:
        if self.prior is None:
            return None
        if found.kind != "classes":
            raise UsageError("Margin.prior is of classes, and the targets are yes/no labels. Leave prior out.")
        demand_classes(self.prior, found.out.shape[1], "Margin")
        return margin_factors(self.prior)

    @staticmethod
    def term(nll: Tensor, number: float | Tensor) -> Tensor:
        return margin_term(nll, number)
