"""Cautious weight decay: only where the optimizer's step shrinks the weight, too."""

import math
from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import Directions, StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.decay import (
    OF_COMPUTED,
    TWICE,
    demand_below_one,
    highest,
    known_peak,
    warn_double_decay,
)
from dashpot.techniques.penalties.directions import coming_direction, demand_direction
from dashpot.techniques.penalties.selected import refuse_complex, refuse_computed


def cautiously_shrunk(
    w: Float[Tensor, "*shape"],
    direction: Float[Tensor, "*shape"],
    share: float | Float[Tensor, "*wide"],
) -> Float[Tensor, "*shape"]:
    """``w * (1 - share)`` where ``direction * w >= 0``, else ``w``."""
    # The product of a small step and a small weight could round to 0, which would agree with anything.
    return torch.where(direction.sign() * w >= 0, w * (1 - share), w)


class StackedCautiousWeightDecay(StackedTechnique):
    """The strengths of all members, by parameter; 0 takes exactly nothing."""

    def read(self) -> None:
        self.strengths: dict[int, np.ndarray] = {}
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                self.strengths.setdefault(t, np.zeros(len(self.techniques)))[k] = technique.strength

    def before_update(self, lr: np.ndarray, directions: Directions) -> None:
        for t, strengths in self.strengths.items():
            w = self.stack.block.parameters[t].detach()
            w.copy_(cautiously_shrunk(w, directions(t), self.wide(lr * strengths, w.ndim)))


class CautiousWeightDecay(Technique):
    r"""Shrink only those weights that the optimizer's step brings nearer to zero anyway.

    .. math:: w_i \leftarrow w_i - \mathrm{lr}\,\big(u_i + \mathrm{strength} \cdot [u_i w_i \ge 0]\; w_i\big)

    for the optimizer's update u (Adam's first moment over the root of its second, the momentum of SGD), so that decay
    never works against the loss: there is no other minimum than that of the loss, and among those decay prefers small
    weights. It takes the strength of :class:`WeightDecay`. A weight whose update is exactly zero shrinks.

    Args:
        strength: >= 0; 0 is off, 0.01 to 0.1 usual for AdamW. lr x strength must be below 1.
        on: which parameters. Weights by default: no biases, norms or embeddings.

    Raises:
        ConfigError: a strength that is negative or infinite.
        ConflictError: at attach, complex weights, lr x strength of 1 or more, or an optimizer whose direction is not
            known before it steps (those of torch from SGD to NAdam are, and :mod:`dashpot.optim`'s).

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.penalties.CautiousWeightDecay(strength=1.0).attach(model, optimizer):
        ...     model(torch.tensor([[1.0, -1.0]])).sum().backward(); _ = optimizer.step()
        >>> model.weight.detach()  # 1 - 0.1 * (1 + 1), and 1 + 0.1
        tensor([[0.8000, 1.1000]])

    Paper: Chen et al., "Cautious Weight Decay", 2025, arXiv 2510.12402.

    When not to use it: where weights that no longer matter should fade away whatever the noise of their gradients says;
    under plain SGD without momentum, where the sign of one noisy gradient decides.
    """

    summary = "shrinks weights where the update shrinks them, too"
    stacked = StackedCautiousWeightDecay
    rules = (TWICE, OF_COMPUTED)

    strength: Annotated[float, Range(0.0, math.inf, search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=1e-2, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("CautiousWeightDecay", self.on, view)
        refuse_complex("CautiousWeightDecay", self.on, view)
        demand_direction("CautiousWeightDecay", view.optimizer)
        warn_double_decay("CautiousWeightDecay", view, self.on)
        shares = [(name, known_peak(group) * highest(self.strength)) for name, _, group in view.params(self.on)]
        demand_below_one(str(self), shares)

    def on_update(self, params: Params, ctx: Context) -> None:
        if not self.strength:
            return
        for (_, w, group), grad in zip(params, params.grads, strict=True):
            ahead = coming_direction(ctx.optimizer, w, group, grad)
            w.copy_(cautiously_shrunk(w, ahead, group["lr"] * self.strength))
