"""LAWA: evaluate and keep the mean of the latest checkpoints."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from torch import Tensor

from dashpot.core.fields.domains import Range, When
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.averaging.averaged import RULES, averaged_tensors, begun, first_and_period, is_taken, with_zeros


class LAWA(Technique):
    r"""Latest weight averaging: evaluate and keep the mean of the last k checkpoints, one per epoch; train the raw
    weights.

    .. math:: \bar w = \frac{1}{k} \sum_{i=0}^{k-1} w_{t - i \cdot \text{every}}

    Unlike an exponential average it forgets checkpoints as a whole, so it follows a fast training, and it may stand
    in place of a falling learning rate: the mean at a constant rate is about as good as the end of a decay, at any
    time. It covers trainable parameters and floating-point buffers, and keeps the recipe's exact zeros. After batch
    normalization call ``dashpot.recalibrate(model, data)`` once at the end.

    Args:
        last: k >= 1, the checkpoints in the mean; fewer until so many are there. 1 is off.
        every: how far apart they are: a share of the run such as ``"5%"``, or a count such as ``"1epochs"`` or
            ``"500steps"``.

    Raises:
        ConfigError: ``last`` below 1, or text that is no length.
        ConflictError: at attach, another average in the recipe, the run ends before the first checkpoint, or a length
            that is needed (``steps=``, ``steps_per_epoch=``) and not given.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> seen = []
        >>> with dashpot.averaging.LAWA(last=2, every="1steps").attach(model, optimizer) as session:
        ...     for _ in range(4):
        ...         optimizer.zero_grad(); model(torch.ones(2, 4)).square().mean().backward(); _ = optimizer.step()
        ...         seen.append(model.weight.detach().clone())
        >>> bool(torch.allclose(model.weight, (seen[2] + seen[3]) / 2))
        True

    Paper: Kaddour, "Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging",
    2022; in place of decay: Ajroldi et al., "When, Where and Why to Average Weights?", arXiv 2502.06761.

    When not to use it: where memory for k copies of the weights is short; after a decay to zero, where the latest
    checkpoints hardly differ.
    """

    summary = "averages the latest checkpoints; evaluation and the final model use the mean"
    exclusive = ("averaged weights",)
    rules = RULES
    order = 10  # after proximal steps, so that it averages what the model really is

    last: Annotated[int, Range(1, float("inf"), off=1, integer=True)] = field(default=5, kw_only=False)
    every: Annotated[str, When()] = "1epochs"

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.last > 1:
            first_and_period(self, self.every, self.every, ctx)

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"kept": {}, "count": 0}

    def on_step(self, params: Params, ctx: Context) -> None:
        if self.last == 1 or not is_taken(ctx.step + 1, *first_and_period(self, self.every, self.every, ctx)):
            return
        place = str(ctx.state["count"] % self.last)
        ctx.state["kept"][place] = {name: t.detach().clone() for name, t in averaged_tensors(ctx.view).items()}
        ctx.state["count"] += 1

    def weights(self, ctx: Context) -> Mapping[str, Tensor]:
        checkpoints = list(ctx.state["kept"].values())
        mean: dict[str, Tensor] = {}
        for name, now in averaged_tensors(ctx.view).items():
            held = [one[name].to(now.device) for one in checkpoints if name in one]  # unfrozen since: fewer
            if held:
                total = begun(held[0])
                for tensor in held[1:]:
                    total += tensor
                # A mask of -inf is its own mean.
                mean[name] = total / len(held)
        return with_zeros(mean, ctx)
