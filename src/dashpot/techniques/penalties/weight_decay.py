"""Weight decay: the decoupled one, as in AdamW."""

import math
from dataclasses import field
from typing import Annotated, Any

import numpy as np

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import Domain, Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import State, Technique
from dashpot.techniques.penalties.decay import (
    OF_COMPUTED,
    TWICE,
    Rate,
    demand_below_one,
    depths,
    highest,
    known_peak,
    lowest,
    peaks,
    relative,
    shrink,
    warn_double_decay,
)
from dashpot.techniques.penalties.selected import refuse_computed

STRENGTH = 1e-2


def share_of(timescale: float, steps_per_epoch: int) -> float:
    """``1 / (timescale * steps_per_epoch)``: what a step at the highest learning rate takes away."""
    return 1 / (timescale * steps_per_epoch)


class StackedWeightDecay(StackedTechnique):
    """It acts inside the update of all members."""

    def on_update(self, decay: np.ndarray, maps: dict[tuple[int, int], Any]) -> None:
        names = [segment.name for segment in self.stack.block.segments]
        for k, technique in enumerate(self.techniques):
            if technique is not None:
                chosen = self.selected(k)
                decay[k, chosen] = technique.strength_for(self.stack.members[k].lr, self.stack.steps_per_epoch)
                if technique.layer_factor != 1:
                    deep = depths(self.stack.view, technique.on)
                    decay[k, chosen] *= [technique.layer_factor ** deep[names[t]] for t in chosen]


class WeightDecay(Technique):
    r"""Shrink weights by a fixed share in each step, decoupled from the gradient.

    .. math:: w \leftarrow (1 - \mathrm{lr} \cdot \mathrm{strength})\, w, \quad \text{then the optimizer's update}

    This is what ``weight_decay`` means in torch's ``AdamW``, bit for bit, for any optimizer and for weights only. It
    follows the learning rate, schedules included. With SGD without momentum it is the same as :class:`L2`; with Adam it
    is not.

    Weights are then an exponential average of past updates, and a ``timescale`` says over how many epochs:

    .. math:: \mathrm{strength} = \frac{1}{\mathrm{timescale} \cdot \mathrm{steps\ per\ epoch} \cdot \mathrm{lr}_{\max}}

    with the highest learning rate so far (that at attach, or what a scheduler of torch's says it will reach), so that
    decay follows a falling rate as it does with a strength. It means the same for any batch size and learning rate. The
    paper finds that of large networks the best one hardly changes with rows and width; on three small sets, from 256
    rows to 4,096, the best strength carried over better (``benchmarks/quality/timescale.py``).

    Args:
        strength: >= 0; 0 is off, 0.01 to 0.1 usual for AdamW. lr x strength must be below 1, and well below it.
        on: which parameters. Weights by default: no biases, norms or embeddings.
        timescale: in place of ``strength``, epochs > 0; between 1 and the epochs of the run is usual. It needs the
            steps of an epoch, which a loop of one's own tells at attach.
        layer_factor: >= 0: a layer's strength is that of the layer after it, times this. 1 is the same for all; below
            it layers near the input decay less. Layers are those that ``on`` selects, in the order of the model.

    A number may follow a schedule: on a learning rate that falls to 0 in a straight line, ``strength="0.1to0"`` is
    decay along its square, as :class:`CorrectedWeightDecay`, against gradients that grow near the end of a training.

    Raises:
        ConfigError: a strength that is negative or infinite, a timescale that is not above 0, or both given.
        ConflictError: at attach, a ``timescale`` without ``steps_per_epoch=``, or lr x strength of 1 or more.
        UsageError: lr x strength has become 1 or more.

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.WeightDecay(timescale=2).attach(model, optimizer, steps_per_epoch=5):
        ...     before = model.weight.detach().clone()
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model.weight, 0.9 * before))
        True

    Paper: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; Wang and Aitchison, "How to Set
    AdamW's Weight Decay as You Scale Model and Dataset Size", ICML 2025; Defazio, "Why Gradients Rapidly Increase Near
    the End of Training", 2025, arXiv 2506.02285.

    When not to use it: where the minimum of a penalized objective is wanted (use :class:`L2` or :class:`ElasticNet`);
    together with a strong Mixup, which lowers the best decay.
    """

    summary = "shrinks weights by lr x strength"
    stacked = StackedWeightDecay
    rules = (TWICE, OF_COMPUTED)
    preset = Preset("strength=0.002..1", order=10)

    strength: Annotated[float, Range(0.0, math.inf, search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=STRENGTH, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights
    timescale: Annotated[float | None, Range(0.0, math.inf, log=True, open="low", optional=True)] = None
    layer_factor: Annotated[float, Range(0.0, math.inf)] = 1.0

    def validate(self) -> None:
        if self.timescale is not None and self.strength not in (0.0, STRENGTH):  # a strength of 0 still switches it off
            rule = "None where a strength is given"
            raise ConfigError("WeightDecay.timescale", rule, self.timescale, "Give one of the two.")

    def space(self) -> dict[str, Domain]:
        space = super().space()
        if self.timescale is not None:  # it takes the strength's place
            space.pop("strength", None)
        return space

    def strength_for(self, peak: float, steps_per_epoch: int) -> float:
        """The strength of the last layer, by the highest learning rate."""
        if self.timescale is None or not self.strength:
            return self.strength
        return share_of(self.timescale, steps_per_epoch) / peak if peak else 0.0

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("WeightDecay", self.on, view)
        warn_double_decay("WeightDecay", view, self.on)
        if self.timescale is not None and ctx.steps_per_epoch is None:
            raise ConflictError(
                f"WeightDecay(timescale={self.timescale}) needs the length of an epoch. Attach with steps_per_epoch=,"
                " or give strength=."
            )
        strength, factor, deep = highest(self.strength), highest(self.layer_factor), depths(view, self.on)
        found = []
        for name, _, group in view.params(self.on):
            share = known_peak(group) * strength
            if self.timescale is not None and ctx.steps_per_epoch is not None:
                share = share_of(lowest(self.timescale), ctx.steps_per_epoch) if strength else 0.0
            found.append((name, share * max(factor, 1.0) ** deep.get(name, 0)))
        demand_below_one(str(self), found)

    def init(self, view: ModelView, ctx: Context) -> State:
        deep = {"depth": depths(view, self.on)} if self.layer_factor != 1 else {}
        if self.timescale is None:
            return deep
        return {**deep, "peak": {name: known_peak(group) for name, _, group in view.params(self.on)}}

    def on_update(self, params: Params, ctx: Context) -> None:
        rates: list[Rate] = [group["lr"] for group in params.groups]
        if self.timescale is None or not self.strength:
            shares = [lr * self.strength for lr in rates]
        else:
            assert ctx.steps_per_epoch is not None, "checked at attach"
            most = share_of(self.timescale, ctx.steps_per_epoch)
            highest_rates = peaks(ctx.state["peak"], params)
            shares = [most * relative(lr, peak) for lr, peak in zip(rates, highest_rates, strict=True)]
        if self.layer_factor != 1:
            if any(name not in ctx.state["depth"] for name in params.names):  # the model has changed
                ctx.state["depth"] = depths(ctx.view, self.on)
            deep = ctx.state["depth"]
            shares = [share * self.layer_factor ** deep[name] for name, share in zip(params.names, shares, strict=True)]
        shrink(self, params, shares)

    def describe(self, view: ModelView) -> str:
        told = super().describe(view)
        if self.timescale is None:
            return told
        return told.replace(self.summary, f"averages updates over {self.timescale} epochs, by shrinking weights", 1)
