"""EMA: evaluate and keep an exponential moving average of the weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

import torch
from torch import Tensor

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import Domain, Flag, Range
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import State, Technique
from dashpot.techniques.averaging.averaged import RULES, averaged_tensors, begun, endless, move, with_zeros

DECAY = 0.999


def warmed_up(decay: float, step: int) -> float:
    """``min(decay, (1 + step) / (10 + step))``: short at first, while the weights change fast."""
    return min(decay, (1 + step) / (10 + step))


def decay_of(half_life: float) -> float:
    """The decay at which what is ``half_life`` steps old counts half: ``2 ** (-1 / half_life)``."""
    return float(2.0 ** (-1.0 / half_life))


class StackedEMA(StackedTechnique):
    """The averages of all members as one block; rows of members without one mean nothing."""

    VALUES = ""  # beside the buffers, which have names

    def init(self) -> dict[str, Tensor]:
        block = self.stack.block
        self.endless = [name for name, b in block.floating().items() if not bool(b.isfinite().all())]
        return {self.VALUES: block.values.clone()} | {name: b.clone() for name, b in block.floating().items()}

    def on_step(self) -> None:
        # In place, and only for members with an average: it is a pass over all weights.
        block = self.stack.block
        moment = self.stack.step, self.stack.steps_per_epoch
        share = {k: 1 - t.decay_at(*moment) for k, t in enumerate(self.techniques) if t is not None}
        self._average(share, [(a, block.buffers[name] if name else block.values) for name, a in self.state.items()])
        for name in self.endless:  # inf - inf is no number
            average = self.state[name]
            average.copy_(torch.where(average.isfinite(), average, block.buffers[name]))

    def _average(self, share: Mapping[int, float], pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Move each pair's first towards its second, by the share of each member."""
        if len(share) == len(self.techniques) > 1:
            for average, now in pairs:
                average.lerp_(now, self.wide(list(share.values()), now.ndim))
            return
        for k, weight in share.items():
            for average, now in pairs:
                average[k].lerp_(now[k], weight)

    def weights(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self.state[self.VALUES], {name: b for name, b in self.state.items() if name}


class EMA(Technique):
    r"""Evaluate and keep an exponential moving average of the weights; train the raw ones.

    .. math:: \bar w \leftarrow d\,\bar w + (1-d)\,w

    The average covers trainable parameters and floating-point buffers (batch-norm statistics), and moves after each
    optimizer step. Inside ``session.evaluate()`` and after ``finish()`` it stands in the model; training and
    checkpoints keep the raw weights beside it. Where the recipe also makes exact zeros, the average is zero wherever
    the raw weight is, since an average alone would forget a zero only slowly.

    Args:
        decay: d in [0, 1). 0 is off (the average is the weights); 0.99 to 0.9999 is usual: about 1 / (1 - d) steps are
            remembered.
        warmup: start with ``min(decay, (1 + t) / (10 + t))`` at step t, so that the first weights are forgotten fast.
        half_life: in place of ``decay``, after how many epochs weights count half, > 0: ``d = 2 ** (-1 / (half_life x
            steps per epoch))``. It means the same for any batch size and number of rows.

    Raises:
        ConfigError: ``decay`` outside [0, 1), or both ``decay`` and ``half_life``.
        ConflictError: at attach, another average in the recipe; a ``half_life`` without ``steps_per_epoch=``.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.EMA(decay=0.9).attach(model, optimizer) as session:
        ...     for _ in range(3):
        ...         optimizer.zero_grad(); model(torch.ones(2, 4)).square().mean().backward(); _ = optimizer.step()
        ...     raw = model.weight.detach().clone()
        ...     with session.evaluate():
        ...         bool((model.weight != raw).all())
        True

    Paper: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 1992;
    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.

    When not to use it: short trainings of fewer than some 1 / (1 - decay) steps; with a learning rate that anneals to
    zero it adds little.
    """

    summary = "averages the weights; evaluation and the final model use the average"
    preset = Preset(order=70)
    exclusive = ("averaged weights",)
    rules = RULES
    stacked = StackedEMA
    order = 10  # after proximal steps, so that it averages what the model really is

    decay: Annotated[float, Range(0.0, 1.0, search=(0.9, 0.9999), off=0.0, open="high")] = field(
        default=DECAY, kw_only=False
    )
    warmup: Annotated[bool, Flag()] = True
    half_life: Annotated[float | None, Range(0.0, math.inf, open="low", optional=True)] = None

    def validate(self) -> None:
        if self.half_life is not None and self.decay not in (0.0, DECAY):  # a decay of 0 still switches it off
            raise ConfigError("EMA.half_life", "None where a decay is given", self.half_life, "Give one of the two.")

    def space(self) -> dict[str, Domain]:
        space = super().space()
        if self.half_life is not None:  # it takes the decay's place
            space.pop("decay", None)
        return space

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.half_life is not None and ctx.steps_per_epoch is None:
            raise ConflictError(
                f"EMA(half_life={self.half_life}) needs the length of an epoch. Attach with steps_per_epoch=, or"
                " give decay=."
            )

    def decay_at(self, step: int, steps_per_epoch: int | None) -> float:
        """The decay at an optimizer step."""
        decay = self.decay
        if self.half_life is not None and steps_per_epoch is not None and decay:
            decay = decay_of(self.half_life * steps_per_epoch)
        return warmed_up(decay, step) if self.warmup else decay

    def init(self, view: ModelView, ctx: Context) -> State:
        # At least float32: in bfloat16 a share of 1 - 0.999 of most differences rounds to nothing, and the average
        # would stand still.
        average = {name: begun(t) for name, t in averaged_tensors(view).items()}
        return {"average": average, "endless": endless(view, average)}

    def on_step(self, params: Params, ctx: Context) -> None:
        move(ctx, 1 - self.decay_at(ctx.step, ctx.steps_per_epoch))

    def weights(self, ctx: Context) -> Mapping[str, Tensor]:
        return with_zeros(ctx.state["average"], ctx)
