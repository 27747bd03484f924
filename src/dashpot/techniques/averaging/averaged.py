"""What averages of weights share: the tensors that they cover, how they move, and zeros that stay zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.schedule import Moment, plain
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.sharded import alike
from dashpot.core.running.view import ModelView

RULES = (
    Rule(
        "average-with-exact-zeros",
        "L1 and other penalties that make exact zeros",
        "a mean of weights that were zero at some steps and not at others is not zero.",
        "handled",
        "the average is zero wherever the weight itself is.",
    ),
    Rule(
        "average-with-batch-norm",
        "batch normalization",
        "means of running statistics are not the statistics of the averaged weights.",
        "up to you",
        "call dashpot.recalibrate(model, data) on the averaged model.",
    ),
    Rule(
        "average-with-best-weights",
        "early stopping",
        "the raw weights of the best epoch are not what was scored.",
        "handled",
        "the weights that early stopping keeps and puts back are the average.",
    ),
)


def begun(tensor: Tensor) -> Tensor:
    """A copy to average into, in at least float32: in bfloat16 a share of 1 - 0.999 of most differences rounds to
    nothing, and the average would stand still.
    """
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)


def averaged_tensors(view: ModelView) -> dict[str, Tensor]:
    """Trainable parameters and floating-point buffers, by name."""
    return {**view.parameters, **{name: buffer for name, buffer in view.buffers() if buffer.is_floating_point()}}


def endless(view: ModelView, average: Mapping[str, Tensor]) -> list[str]:
    """Buffers such as a mask of -inf, which have no average: inf - inf. Found once, since to ask at each step would
    make a GPU wait.
    """
    return [name for name, _ in view.buffers() if name in average and not average[name].isfinite().all()]


def move(ctx: Context, share: float) -> None:
    """The average in ``ctx.state`` goes this share of its way to the model as it is now."""
    current, average = averaged_tensors(ctx.view), ctx.state["average"]
    for name in current.keys() - average.keys():  # unfrozen since: its average begins here
        average[name] = begun(current[name])
    averages = [average[name] for name in current]
    targets = [t if t.dtype is a.dtype else t.to(a.dtype) for a, t in zip(averages, current.values(), strict=True)]
    for some in alike(targets):
        torch._foreach_lerp_([averages[i] for i in some], [targets[i] for i in some], share)
    for name in ctx.state.get("endless", ()):
        average[name].copy_(torch.where(average[name].isfinite(), average[name], current[name]))


def with_zeros(average: Mapping[str, Tensor], ctx: Context) -> dict[str, Tensor]:
    """The average, zero wherever a proximal step has made the raw weight zero: an average alone would forget a zero
    only slowly.
    """
    raw = ctx.view.parameters
    return {
        name: tensor * (raw[name].detach() != 0) if name in ctx.sparse else tensor for name, tensor in average.items()
    }


def first_and_period(technique: Any, start: str, every: str, ctx: Context) -> tuple[int, int]:
    """The optimizer steps after which weights are taken: the first, at least 1, and how many lie between two.

    Raises:
        ConflictError: a length is needed that is not known, or the run ends before the first.
    """
    try:
        first = math.ceil(Moment.parse("start", start).step(ctx.steps, ctx.steps_per_epoch))
        period = round(Moment.parse("every", every).step(ctx.steps, ctx.steps_per_epoch))
    except ConflictError as error:
        raise ConflictError(f"{technique}: {error}") from None
    if ctx.steps is not None and first > ctx.steps:
        raise ConflictError(
            f"{technique} begins after step {plain(first)}, but the run ends after step {ctx.steps}: there would be no"
            " average. Begin earlier, such as at 75%, or train longer."
        )
    return max(first, 1), max(period, 1)


def is_taken(completed: int, first: int, period: int) -> bool:
    """Whether the weights after so many completed steps are taken."""
    return completed >= first and (completed - first) % period == 0
