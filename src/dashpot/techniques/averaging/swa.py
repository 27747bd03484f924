"""SWA: evaluate and keep the plain mean of the weights at points of the last part of training."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from torch import Tensor

from dashpot.core.fields.domains import When
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.averaging.averaged import (
    RULES,
    averaged_tensors,
    begun,
    endless,
    first_and_period,
    is_taken,
    move,
    with_zeros,
)

OFF = "100%"


class SWA(Technique):
    r"""Stochastic weight averaging: evaluate and keep the mean of the weights at the end of each epoch of the last
    part of training; train the raw ones.

    .. math:: \bar w \leftarrow \bar w + \frac{w - \bar w}{n + 1}

    at ``start`` and after each further ``every``, with n the number of weights that are in the mean. It covers
    trainable parameters and floating-point buffers. Before ``start`` evaluation sees the raw weights. Where the recipe
    also makes exact zeros, the mean is zero wherever the raw weight is.

    **The learning rate** belongs to the loop, not to a technique. The mean is of most use where the rate stays up, so
    that the weights still move: ``fit(..., schedule=dashpot.schedules.swa(start="75%", final=0.05))`` falls to a
    twentieth until ``start`` and stays there; in a loop of your own, ``torch.optim.swa_utils.SWALR`` does.

    **Batch normalization**: the mean of running statistics is not the statistics of the mean weights. Call
    ``dashpot.recalibrate(model, data)`` once at the end.

    Args:
        start: when the first weights are taken: a share of the run's optimizer steps such as ``"75%"``, or a count
            such as ``"30epochs"`` or ``"500steps"``. ``"100%"`` is off.
        every: how far apart they are, likewise; an epoch by default.

    Raises:
        ConfigError: text that is no moment.
        ConflictError: at attach, another average in the recipe, a start after the last step, or a length that is
            needed (``steps=``, ``steps_per_epoch=``) and not given.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> taken = []
        >>> with dashpot.averaging.SWA(start="2steps", every="1steps").attach(model, optimizer) as session:
        ...     for step in range(1, 5):
        ...         optimizer.zero_grad(); model(torch.ones(2, 4)).square().mean().backward(); _ = optimizer.step()
        ...         taken += [model.weight.detach().clone()] if step >= 2 else []
        >>> bool(torch.allclose(model.weight, torch.stack(taken).mean(0)))
        True

    Paper: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.

    When not to use it: with a learning rate that anneals to zero the last weights hardly differ, and the mean is near
    the first of them; where a run may end early, EMA has an average at any time.
    """

    summary = "averages the weights of the last part; evaluation and the final model use it"
    exclusive = ("averaged weights",)
    rules = RULES
    order = 10  # after proximal steps, so that it averages what the model really is

    start: Annotated[str, When(off=OFF)] = field(default="75%", kw_only=False)
    every: Annotated[str, When()] = "1epochs"

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.start != OFF:
            first_and_period(self, self.start, self.every, ctx)

    def init(self, view: ModelView, ctx: Context) -> State:
        if self.start == OFF:
            return {}
        average = {name: begun(t) for name, t in averaged_tensors(view).items()}
        return {"average": average, "endless": endless(view, average), "count": 0}

    def on_step(self, params: Params, ctx: Context) -> None:
        if self.start != OFF and is_taken(ctx.step + 1, *first_and_period(self, self.start, self.every, ctx)):
            ctx.state["count"] += 1
            move(ctx, 1 / ctx.state["count"])

    def weights(self, ctx: Context) -> Mapping[str, Tensor]:
        return with_zeros(ctx.state["average"], ctx) if ctx.state.get("count") else {}
