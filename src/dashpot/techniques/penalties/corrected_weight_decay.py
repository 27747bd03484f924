"""Corrected weight decay: along the square of the learning rate."""

import math
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import Directions, StackedTechnique
from dashpot.core.technique import State, Technique
from dashpot.techniques.penalties.decay import (
    OF_COMPUTED,
    TWICE,
    demand_below_one,
    highest,
    known_peak,
    peaks,
    relative,
    shrink,
    warn_double_decay,
)
from dashpot.techniques.penalties.selected import refuse_computed


class StackedCorrectedWeightDecay(StackedTechnique):
    """The strengths of all members, by parameter; 0 takes exactly nothing."""

    def read(self) -> None:
        self.strengths: dict[int, np.ndarray] = {}
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                self.strengths.setdefault(t, np.zeros(len(self.techniques)))[k] = technique.strength
        self.highest = np.array([member.lr for member in self.stack.members])

    def before_update(self, lr: np.ndarray, directions: Directions) -> None:
        rates = lr * (lr / self.highest)
        for t, strengths in self.strengths.items():
            w = self.stack.block.parameters[t].detach()
            w.mul_(self.wide(1 - rates * strengths, w.ndim))


class CorrectedWeightDecay(Technique):
    r"""Shrink weights along the square of the learning rate, decoupled from the gradient.

    .. math:: w \leftarrow \Big(1 - \mathrm{strength} \cdot \frac{\mathrm{lr}^2}{\mathrm{lr}_{\max}}\Big)\, w, \quad
              \text{then the optimizer's update}

    with the highest learning rate so far (that at attach, or what a scheduler of torch's says it will reach). At that
    rate it is :class:`WeightDecay`; where the rate falls, decay falls faster. Updates of length lr that do not depend
    on the weights lengthen them by about the square of lr in each step, and decay by the square balances that: the norm
    of the weights stays what it was while the rate falls. Decay along lr makes it shrink, and gradients in front of
    normalizations grow.

    Args:
        strength: >= 0; 0 is off, 0.01 to 0.1 usual for AdamW. lr x strength must be below 1.
        on: which parameters. Weights by default: no biases, norms or embeddings.

    Raises:
        ConfigError: a strength that is negative or infinite.
        ConflictError: at attach, lr x strength of 1 or more.
        UsageError: lr x strength has become 1 or more.

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.penalties.CorrectedWeightDecay(strength=4.0).attach(model, optimizer):
        ...     optimizer.param_groups[0]["lr"] = 0.05
        ...     before = model.weight.detach().clone()
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model.weight, 0.9 * before))
        True

    Paper: Chou, "Correction of Decoupled Weight Decay", 2025, arXiv 2512.08217; Defazio, "Why Gradients Rapidly
    Increase Near the End of Training", 2025, arXiv 2506.02285.

    When not to use it: at a constant learning rate, where it is :class:`WeightDecay`; where weights should become small
    at the end of a training.
    """

    summary = "shrinks weights by strength x lr^2 / highest lr"
    stacked = StackedCorrectedWeightDecay
    rules = (TWICE, OF_COMPUTED)

    strength: Annotated[float, Range(0.0, math.inf, search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=1e-2, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("CorrectedWeightDecay", self.on, view)
        warn_double_decay("CorrectedWeightDecay", view, self.on)
        shares = [(name, known_peak(group) * highest(self.strength)) for name, _, group in view.params(self.on)]
        demand_below_one(str(self), shares)

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"peak": {name: known_peak(group) for name, _, group in view.params(self.on)}}

    def on_update(self, params: Params, ctx: Context) -> None:
        found = zip(params.groups, peaks(ctx.state["peak"], params), strict=True)
        shrink(self, params, [self.strength * group["lr"] * relative(group["lr"], peak) for group, peak in found])
