"""Targets and weights of samples that are mixed from two."""

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dashpot.core import draws
from dashpot.core.errors import DataError, UsageError
from dashpot.core.running.context import Context
from dashpot.core.running.nested import told
from dashpot.core.running.targets import demand_codes, demand_labels


def blend(
    x: Float[Tensor, "batch *shape"], partner: Float[Tensor, "batch *shape"], share: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *shape"]:
    """``share * x + (1 - share) * partner``, one share per sample; exact at 0 and 1."""
    weight = share.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(partner, x, weight)


def class_probabilities(y: Int[Tensor, "batch *rest"], classes: int) -> Float[Tensor, "batch {classes} *rest"]:
    """One-hot rows, of each position, float32. Codes outside 0 to ``classes`` - 1 have none."""
    codes = torch.arange(classes, device=y.device).reshape(-1, *[1] * (y.ndim - 1))
    return (y.unsqueeze(1) == codes).float()


def mix_weighted(
    y: Shaped[Tensor, "batch *shape"],
    weight: Float[Tensor, " batch"],
    order: Int[Tensor, " batch"],
    share: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]:
    """Targets and weights of mixed samples, such that a loss linear in the target counts each part with its own
    sample's weight.

    The new weight is ``share * w_i + (1 - share) * w_j``; the part of sample i in the new target is its share of that.
    """
    mixed = blend(weight, weight[order], share)
    part = share * weight / mixed.clamp(min=torch.finfo(mixed.dtype).tiny)
    return blend(y, y[order], part), mixed


def classes_of(y: Tensor, axes: int, technique: str) -> Tensor:
    """The class of each sample: whole numbers as they are, the largest of class probabilities.

    Args:
        axes: of the samples, before any of classes.

    Raises:
        UsageError: targets that are neither.
    """
    if y.ndim == axes and not y.is_floating_point():
        return y.long()
    if y.ndim == axes + 1 and y.is_floating_point() and y.shape[-1] > 1:
        return y.argmax(dim=-1)
    raise UsageError(
        f"{technique} chooses partners by class and needs one class per sample, got targets {list(y.shape)} of"
        f" {str(y.dtype).removeprefix('torch.')}. Say partner='any'."
    )


def plain_codes(y: Any, ctx: Context, technique: str) -> bool:
    """Whether targets are whole numbers of known classes that C++ mixes in one call (:func:`mix_rows`), as
    :func:`blendable` and :func:`blend` do in ten.

    Raises:
        DataError: a number that is no class, with the technique named.
    """
    if (
        not isinstance(y, Tensor)
        or y.dtype != torch.int64
        or y.ndim != 1
        or y.device.type != "cpu"
        or ctx.classes is None
        or ctx.targets in ("multilabel", "values")
        or draws.kernel() is None
    ):
        return False
    if not (y.is_contiguous() and draws.within(y, ctx.classes)):
        demand_codes(y, ctx.classes, f"the target of {technique}")
    return True


def blendable(y: Any, ctx: Context, technique: str) -> Tensor:
    """The target as floating-point values, of which blends mean something.

    Raises:
        UsageError, DataError: a target that is none of those that can be blended, with the technique named.
    """
    if not isinstance(y, Tensor):
        raise UsageError(f"{technique} needs a target tensor, got {told(y)}. Leave {technique} out.")
    if ctx.targets == "multilabel":
        demand_labels(y, f"the target of {technique}")
    if y.is_floating_point() or ctx.targets in ("multilabel", "values"):
        if y.ndim < 2 and ctx.targets != "values" and (ctx.classes or 0) > 2:
            raise DataError(
                f"the target of {technique} must be whole numbers or probabilities [batch, {ctx.classes}] for"
                f" {ctx.classes} classes, got {list(y.shape)} of {str(y.dtype).removeprefix('torch.')}. Convert it with"
                " y.long()."
            )
        return y if y.is_floating_point() else y.float()
    if y.ndim != 1 and ctx.targets != "classes":
        raise UsageError(
            f"{technique} needs integer targets of shape [batch], got {list(y.shape)}. Pass several labels as floats,"
            " attach with targets='multilabel', or with targets='classes' where each position has a class."
        )
    if ctx.classes is None:
        raise UsageError(
            f"{technique} needs to know how many classes there are. Attach with classes=, or pass class probabilities;"
            " or attach with targets='multilabel' where one output says yes or no."
        )
    y = y.long()
    demand_codes(y, ctx.classes, f"the target of {technique}")
    return class_probabilities(y, ctx.classes)
