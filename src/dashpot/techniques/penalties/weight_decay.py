"""Weight decay: the decoupled one, as in AdamW."""

from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.decay import OF_COMPUTED, TWICE, warn_double_decay
from dashpot.techniques.penalties.selected import refuse_computed


def weight_decay(
    w: Float[Tensor, "*shape"], lr: float | Float[Tensor, ""], strength: float | Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``w * (1 - lr * strength)``."""
    return w * (1 - lr * strength)


class StackedWeightDecay(StackedTechnique):
    """It acts inside the update of all members."""

    def on_update(self, decay: np.ndarray, maps: dict[tuple[int, int], Any]) -> None:
        for k, technique in enumerate(self.techniques):
            if technique is not None:
                decay[k, self.selected(k)] = technique.strength


class WeightDecay(Technique):
    r"""Shrink weights by a fixed share in each step, decoupled from the gradient.

    .. math:: w \leftarrow (1 - \mathrm{lr} \cdot \mathrm{strength})\, w, \quad \text{then the optimizer's update}

    This is what ``weight_decay`` means in torch's ``AdamW``, bit for bit, for any optimizer and for weights only. It
    follows the learning rate, schedules included. With SGD without momentum it is the same as :class:`L2`; with Adam it
    is not.

    Args:
        strength: >= 0; 0 is off, 0.01 to 0.1 usual for AdamW. lr x strength must stay well below 1.
        on: which parameters. Weights by default: no biases, norms or embeddings.

    Raises:
        ConfigError: a strength that is negative or infinite.

    Warns:
        DoubleDecayWarning: the optimizer has a ``weight_decay`` of its own.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.WeightDecay(strength=1.0).attach(model, optimizer):
        ...     before = model.weight.detach().clone()
        ...     (0 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model.weight, 0.9 * before))
        True

    Paper: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.

    When not to use it: where the minimum of a penalized objective is wanted (use :class:`L2` or :class:`ElasticNet`);
    together with a strong Mixup, which lowers the best decay.
    """

    summary = "shrinks weights by lr x strength"
    stacked = StackedWeightDecay
    rules = (TWICE, OF_COMPUTED)
    preset = Preset("strength=0.002..1", order=10)

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=1e-2, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("WeightDecay", self.on, view)
        warn_double_decay("WeightDecay", view, self.on)

    def on_update(self, params: Params, ctx: Context) -> None:
        if any(isinstance(group["lr"], Tensor) for group in params.groups):
            for _, w, group in params:
                w.copy_(weight_decay(w, group["lr"], self.strength))
        elif len(params):
            torch._foreach_mul_(params.tensors, [1 - group["lr"] * self.strength for group in params.groups])
