"""Norms over features."""

from __future__ import annotations

import torch
from torch import Tensor

from dashpot.shrinking.limits import Squares
from dashpot.shrinking.rules.registry import rule, unknown
from dashpot.shrinking.units import along, distinct, spread
from dashpot.shrinking.value import Step


@rule("layer_norm")
def layer_norm(step: Step) -> None:
    """Units stay: one that is always zero counts in the mean and the variance, and a norm of fewer features, whatever
    its scale and eps are, takes another mean away.
    """
    x = step.arg(0, "input")
    axes = [x.value.ndim - 1 - k for k in range(len(step.arg(1, "normalized_shape")))]
    reason = f"it counts in the mean and variance of {step.where or 'layer_norm'}, a layer norm"
    for value in step.tensors():
        step.pin(value, reason)
    out = step.units.fresh(x.value.shape[-1])
    step.units.pin(out, reason)
    scale = step.arg(2, "weight")
    used = None if scale is None else (scale.value != 0).float()

    def flow(mask: Tensor) -> Tensor:
        found = mask.sum(axes, keepdim=True).expand(mask.shape)
        return found if used is None else found * used

    step.give(flow, spread(out, step.out.shape, -1), [x])


@rule("rms_norm")
def rms_norm(step: Step) -> None:
    """Constants leave, and eps and scale say so: exact, see :class:`~dashpot.shrinking.limits.Squares`."""
    x, scale = step.arg(0, "input"), step.arg(2, "weight")
    why = None
    if x.name is not None or any(d != x.value.ndim - 1 for d in along(x.label)):
        why = "rms_norm over several axes"
    elif len(step.arg(1, "normalized_shape")) != 1 or step.kind != "RMSNorm":
        why = "rms_norm by sizes that are written in code"
    elif scale is None or scale.name is None or scale.index is not None:
        why = f"{step.where or 'rms_norm'} has no scale that could change with the number of its features"
    if why is not None:
        unknown(step, why)
        return
    out = step.units.of_axis(scale.name, 0, scale.value.shape[0])
    here = distinct(x.label.reshape(-1, len(out)), dim=0)
    step.units.join(here[:1], here)
    eps = step.arg(3, "eps")
    step.limits.append(
        Squares(scale.name, step.where, here[0], out, x, torch.finfo(x.value.dtype).eps if eps is None else float(eps))
    )
    used, there = (scale.value != 0).float(), (~x.zero).float()
    # A constant zero stays zero, and any other constant is divided by what varies.
    step.give(lambda mask: (mask + there * mask.sum(-1, keepdim=True)) * used, spread(out, step.out.shape, -1), [x])
