"""Poly loss: cross entropy with another first coefficient."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.techniques.outputs.by_target import ByTarget


def poly_term(nll: Float[Tensor, "*shape"], epsilon: float | Float[Tensor, "..."]) -> Float[Tensor, "*shape"]:
    """``epsilon * (1 - p)`` with ``p = exp(-nll)``."""
    return epsilon * -torch.expm1(-nll)


class PolyLoss(ByTarget):
    r"""Cross entropy with another weight of its first polynomial term.

    .. math:: \ell_p = -\log p_y + \epsilon\,(1-p_y)

    Cross entropy is :math:`\sum_j (1-p_y)^j / j`; this changes the first coefficient, from 1 to 1 + ε. Above 0 the
    gradient of samples that are nearly right stays larger, below 0 they count less. It is Poly-1 of the paper; beside
    :class:`FocalLoss` it is the paper's focal one but for the power of its term. Loss, targets and shapes are as for
    :class:`FocalLoss`; it is linear in targets that are distributions, and so suits Mixup.

    Args:
        epsilon: ε >= -1. 0 is off; the paper has 2 for ImageNet and -1 where classes are very unequal.

    Raises:
        ConfigError: ``epsilon`` below -1.
        ConflictError: targets that are values.
        UsageError, DataError: as for :class:`FocalLoss`.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.outputs.PolyLoss(1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> p = out.softmax(1)[range(6), y]
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> bool(torch.isclose(loss, (1 - p - p.log()).mean()))
        True

    Paper: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022,
    arXiv 2204.12511.

    When not to use it: above 0 it makes the network surer of itself; where probabilities matter, prefer
    :class:`LabelSmoothing` or a temperature.
    """

    summary = "adds epsilon (1 - p) of the true class to the loss"
    number = "epsilon"

    epsilon: Annotated[float, Range(-1.0, float("inf"), search=(0.1, 4.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )

    @staticmethod
    def term(nll: Tensor, number: float | Tensor) -> Tensor:
        return poly_term(nll, number)
