"""Confidence penalty: reward outputs for being unsure."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, log_softmax, softplus

from dashpot.core.fields.domains import Range
from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.targets import is_one_of
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.outputs.judged import Judged, judged


def entropy(logits: Float[Tensor, "batch classes *rest"]) -> Float[Tensor, "batch *rest"]:
    """Of the softmax over the classes, in nats."""
    log_p = log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def binary_entropy(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Of yes and no, of each label."""
    return softplus(logits) - logits * logits.sigmoid()


def confidence_penalty(
    loss: Float[Tensor, "*shape"], entropy: Float[Tensor, "*shape"], strength: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``loss - strength * entropy``."""
    return loss - strength * entropy


class StackedConfidencePenalty(StackedTechnique):
    """Each member's strength, for its rows."""

    def read(self) -> None:
        self.strength = self.values("strength", 0.0)

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        if not any(self.strength):
            return loss
        labels = self.stack.targets == "multilabel"
        if labels and is_one_of(self.stack.plan.loss, (nn.BCELoss, binary_cross_entropy)):
            out = torch.logit(out, eps=torch.finfo(out.dtype).eps)
        found = Judged("ConfidencePenalty", "labels" if labels else "classes", loss, out, None)
        strength = self.wide(self.strength, 1).repeat_interleave(len(loss) // len(self.strength))
        return confidence_penalty(loss, _entropy(found), strength.reshape(-1, *[1] * (loss.ndim - 1)))


class ConfidencePenalty(Technique):
    r"""Reward outputs for being unsure: subtract their entropy from the loss.

    .. math:: \ell_c = \ell - \beta\, H(p), \quad H(p) = -\sum_c p_c \log p_c

    It is :class:`LabelSmoothing` with the divergence turned round: outputs are drawn towards the uniform distribution
    less, the surer they are rightly. Of yes/no labels it is the entropy of each. ``out`` must be logits [batch,
    classes, ...] (or what the criterion takes, where it is passed itself).

    Args:
        strength: β >= 0, in units of the loss. 0 is off; 0.05 to 0.5 is usual.

    Raises:
        ConflictError: targets that are values.
        UsageError: ``session.loss`` got no ``out``, or one whose shape does not fit the loss.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.outputs.ConfidencePenalty(0.1).attach(model, optimizer)
        >>> x, y = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> out = model(x)
        >>> plain = torch.nn.functional.cross_entropy(out, y)
        >>> loss = session.loss(torch.nn.CrossEntropyLoss(), out)
        >>> bool(torch.isclose(loss, plain - 0.1 * torch.distributions.Categorical(logits=out).entropy().mean()))
        True

    Paper: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions", ICLR 2017
    workshop, arXiv 1701.06548.

    When not to use it: where the loss is compared with others, since it may fall below 0; above about 1 the uniform
    distribution becomes its minimum.
    """

    requires = Requires(task=("classification", "multilabel"))
    summary = "rewards outputs for being unsure"
    stacked = StackedConfidencePenalty
    order = 10  # after what blends the plain loss with something else

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.01, 1.0), log=True, off=0.0)] = field(
        default=0.1, kw_only=False
    )

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        found = judged("ConfidencePenalty", loss, out, ctx, target=False)
        return confidence_penalty(loss, _entropy(found), self.strength)


def _entropy(found: Judged) -> Tensor:
    return found.placed((entropy if found.kind == "classes" else binary_entropy)(found.out))
