"""EMA: evaluate and keep an exponential moving average of the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

import torch
from torch import Tensor

from dashpot.core.fields.domains import Flag, Range
from dashpot.core.preset import Preset
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import State, Technique


def warmed_up(decay: float, step: int) -> float:
    """``min(decay, (1 + step) / (10 + step))``: short at first, while the weights change fast."""
    return min(decay, (1 + step) / (10 + step))


class StackedEMA(StackedTechnique):
    """The averages of all members as one block; rows of members without one mean nothing."""

    VALUES = ""  # beside the buffers, which have names

    def init(self) -> dict[str, Tensor]:
        block = self.stack.block
        self.endless = [name for name, b in block.floating().items() if not bool(b.isfinite().all())]
        return {self.VALUES: block.values.clone()} | {name: b.clone() for name, b in block.floating().items()}

    def on_step(self) -> None:
        # In place, and only for members with an average: it is a pass over all weights.
        block, step = self.stack.block, self.stack.step
        share = {
            k: 1 - (warmed_up(t.decay, step) if t.warmup else t.decay)
            for k, t in enumerate(self.techniques)
            if t is not None
        }
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

    Raises:
        ConfigError: ``decay`` outside [0, 1).
        ConflictError: at attach, another average in the recipe.

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
    stacked = StackedEMA
    order = 10  # after proximal steps, so that it averages what the model really is

    decay: Annotated[float, Range(0.0, 1.0, search=(0.9, 0.9999), off=0.0, open="high")] = field(
        default=0.999, kw_only=False
    )
    warmup: Annotated[bool, Flag()] = True

    def init(self, view: ModelView, ctx: Context) -> State:
        # At least float32: in bfloat16 a share of 1 - 0.999 of most differences rounds to nothing, and the average
        # would stand still.
        average = {name: _begun(t) for name, t in _averaged_tensors(view).items()}
        # A mask of -inf has no average: inf - inf. Found once, since to ask at each step would make a GPU wait.
        return {
            "average": average,
            "endless": [name for name, _ in view.buffers() if name in average and not average[name].isfinite().all()],
        }

    def on_step(self, params: Params, ctx: Context) -> None:
        current = _averaged_tensors(ctx.view)
        for name in current.keys() - ctx.state["average"].keys():  # unfrozen since: its average begins here
            ctx.state["average"][name] = _begun(current[name])
        averages = [ctx.state["average"][name] for name in current]
        decay = warmed_up(self.decay, ctx.step) if self.warmup else self.decay
        torch._foreach_lerp_(
            averages, [t.to(a.dtype) for a, t in zip(averages, current.values(), strict=True)], 1 - decay
        )
        for name in ctx.state.get("endless", ()):
            average = ctx.state["average"][name]
            average.copy_(torch.where(average.isfinite(), average, current[name]))

    def weights(self, ctx: Context) -> Mapping[str, Tensor]:
        average: dict[str, Tensor] = ctx.state["average"]
        raw = ctx.view.parameters
        return {
            name: tensor * (raw[name].detach() != 0) if name in ctx.sparse else tensor
            for name, tensor in average.items()
        }


def _begun(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)


def _averaged_tensors(view: ModelView) -> dict[str, Tensor]:
    return {**view.parameters, **{name: buffer for name, buffer in view.buffers() if buffer.is_floating_point()}}
