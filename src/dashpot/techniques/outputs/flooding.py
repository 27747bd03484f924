"""Flooding: keep the training loss from falling below a level."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.criteria import Samples
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def flooded(
    loss: Float[Tensor, "*shape"], mean: Float[Tensor, "..."], level: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``loss`` turned at ``level`` where its ``mean`` is below: of numbers with that mean the mean becomes ``|mean -
    level| + level``.
    """
    return torch.where(mean < level, 2 * level - loss, loss)


class StackedFlooding(StackedTechnique):
    """Each member's own mean."""

    def read(self) -> None:
        self.level = self.values("level", 0.0)
        self.single = [t is not None and t.by == "sample" for t in self.techniques]
        self.weight: Tensor | None = None

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.weight = None
        return x, y

    def on_weighted_batch(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.weight = weight
        return x, y, weight

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        if not any(self.level):
            return loss
        members = len(self.level)
        own = loss.detach().reshape(members, len(loss) // members, -1)
        if self.weight is None:
            mean = own.mean(dim=(1, 2))
        else:
            mean = (own.mean(dim=2) * self.weight).sum(dim=1) / self.weight.sum(dim=1)
        single = torch.tensor(self.single, device=loss.device).reshape(-1, 1, 1)
        level = self.wide(self.level, 3)
        below = torch.where(single, own, mean.reshape(-1, 1, 1))
        # At level 0 a member's loss stays as it is, below 0 too.
        below = torch.where(level > 0, below, torch.inf)
        return flooded(loss.reshape(own.shape), below, level).reshape(loss.shape)


class Flooding(Technique):
    r"""Keep the training loss from falling below a level: below it, the gradient is turned round.

    .. math:: L_f = |L - b| + b

    L is the mean loss of the micro-batch over what counts in it (sample weights, masks and ``ignore_index`` respected).
    So the network drifts at a loss of b in place of fitting the last samples by heart. It acts after all other
    techniques on losses, whatever their order in the recipe, and takes their terms in. Under accumulation and on
    several ranks each micro-batch is judged by its own mean.

    Args:
        level: b >= 0, in units of the loss, of a sample. 0 is off; 0.01 to 0.2 is usual: choose it below the validation
            loss.
        by: ``"batch"`` compares the mean loss, as the paper does; ``"sample"`` each loss by itself.

    Raises:
        ConfigError: a negative level, or another ``by``.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.outputs.Flooding(2.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> each = torch.tensor([0.5, 1.0, 1.5], requires_grad=True)
        >>> loss = session.loss(each); loss.backward()
        >>> loss.item(), each.grad
        (3.0, tensor([-0.3333, -0.3333, -0.3333]))

    Paper: Ishida et al., "Do We Need Zero Training Loss After Achieving Zero Training Error?", ICML 2020, arXiv
    2002.08709; by sample: Xie et al., "iFlood: A Stable and Effective Regularizer", ICLR 2022.

    When not to use it: beside early stopping on a training loss; with soft or mixed targets, or smoothed labels, whose
    loss never comes near 0: the level must lie above their entropy to act at all.
    """

    summary = "keeps the training loss from falling below a level"
    stacked = StackedFlooding
    exclusive = ("level of the loss",)
    rules = (
        Rule(
            "flooding-with-other-terms",
            "label smoothing and whatever else is in the loss",
            "a level for one part of the loss would let the others go on falling, and the order would decide.",
            "handled",
            "whatever the recipe's order, it judges the whole loss: choose the level above the entropy of the targets.",
        ),
    )
    order = 90  # it judges the whole loss

    level: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.3), log=True, off=0.0)] = field(
        default=0.05, kw_only=False
    )
    by: Annotated[Literal["batch", "sample"], Choice(("batch", "sample"))] = "batch"

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.level == 0:
            return loss
        own = loss.detach()
        return flooded(loss, own if self.by == "sample" else (ctx.samples or Samples(own)).mean(own), self.level)
