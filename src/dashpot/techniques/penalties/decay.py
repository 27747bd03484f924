"""What all ways to decay weights share: the warning, the highest learning rate, the depth of layers, the step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError, UsageError
from dashpot.core.fields.schedule import Schedule
from dashpot.core.fields.select import Where
from dashpot.core.rules import Rule
from dashpot.core.running.computed import role_of
from dashpot.core.running.sharded import alike
from dashpot.core.running.view import ModelView, Params

Rate = float | Tensor
TOO_MUCH = "a step would turn weights around. Lower the strength or the learning rate."

TWICE = Rule(
    "decay-twice",
    "weight_decay of the optimizer",
    "weights shrink by both.",
    "warned",
    "give the optimizer weight_decay=0.",
)
OF_COMPUTED = Rule(
    "penalty-of-computed-weights",
    "weight norm, spectral norm and other parametrizations",
    "the penalty would act on what the weight is computed from: shrinking the direction of a weight norm leaves the"
    " weight as it is.",
    "refused",
    "remove the parametrization, or name what is meant by on=.",
)


class DoubleDecayWarning(UserWarning):
    """Decay is set in the optimizer and in the recipe."""


def warn_double_decay(name: str, view: ModelView, on: Where) -> None:
    """Warn where the optimizer decays parameters that the recipe decays too."""
    rate = max((group.get("weight_decay", 0) for _, _, group in view.params(on)), default=0)
    if rate:
        optimizer = type(view.optimizer).__name__
        warnings.warn(
            f"decay is set twice: {optimizer} has weight_decay={rate:g} and the recipe has {name}. Give {optimizer}"
            " weight_decay=0 to keep the recipe's.",
            DoubleDecayWarning,
            stacklevel=7,
        )


def shrunk(w: Float[Tensor, "*shape"], share: float | Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """``w * (1 - share)``."""
    return w * (1 - share)


def highest(value: Any) -> float:
    """A number, or the higher end of a schedule."""
    return max(value.start, value.end) if isinstance(value, Schedule) else float(value)


def lowest(value: Any) -> float:
    """A number, or the lower end of a schedule."""
    return min(value.start, value.end) if isinstance(value, Schedule) else float(value)


def known_peak(group: Mapping[str, Any]) -> float:
    """The highest learning rate that a group tells by itself: its present one, or what a scheduler of torch's will
    reach.
    """
    told = (group.get(key) for key in ("lr", "initial_lr", "max_lr"))
    return max((float(rate) for rate in told if isinstance(rate, int | float | Tensor)), default=0.0)


def peaks(held: dict[str, Rate], params: Params) -> list[Rate]:
    """For each parameter the highest learning rate so far; ``held`` keeps them by name."""
    for name, _, group in params:
        lr, before = group["lr"], held.get(name)
        if before is None:
            held[name] = known_peak(group)
        elif isinstance(lr, Tensor):  # read on its device, so that nothing waits
            held[name] = torch.maximum(torch.as_tensor(before, dtype=lr.dtype, device=lr.device), lr)
        elif lr > before:
            held[name] = lr
    return [held[name] for name in params.names]


def relative(lr: Rate, peak: Rate) -> Rate:
    """``lr / peak``; 0 where both are 0."""
    if isinstance(peak, Tensor):
        return lr / peak.clamp_min(torch.finfo(peak.dtype).tiny)
    return lr / peak if peak else 0.0


def shrink(by: object, params: Params, shares: Sequence[Rate]) -> None:
    """Multiply each parameter by 1 less its share.

    Args:
        by: the technique, whose text is made only where it is told.

    Raises:
        UsageError: a share of 1 or more.
    """
    numbers = [share for share in shares if not isinstance(share, Tensor)]
    if len(numbers) < len(shares):
        for w, share in zip(params.tensors, shares, strict=True):
            w.copy_(shrunk(w, share))
    elif numbers:
        if (most := max(numbers)) >= 1:
            worst = numbers.index(most)
            raise UsageError(
                f"{by}: lr x strength must be below 1, got {most:g} for {params.names[worst]!r} at a learning rate of"
                f" {params.groups[worst]['lr']:g}: {TOO_MUCH}"
            )
        for some in alike(params.tensors):
            own = [1 - numbers[i] for i in some]
            # One number for all is faster than as many equal ones.
            torch._foreach_mul_([params.tensors[i] for i in some], own if min(own) < max(own) else own[0])


def demand_below_one(name: str, shares: Iterable[tuple[str, float]]) -> None:
    """Refuse at attach what a step would refuse.

    Raises:
        ConflictError: naming the parameter, and its share of a step.
    """
    for parameter, share in shares:
        if share >= 1:
            raise ConflictError(f"{name}: lr x strength must be below 1, got {share:g} for {parameter!r}: {TOO_MUCH}")


def depths(view: ModelView, on: Where) -> dict[str, int]:
    """How many of the layers that ``on`` selects come after that of each parameter, in the order of the model; frozen
    ones count. A layer is a module with parameters of its own.
    """
    layers: dict[str, list[str]] = {}
    for prefix, module in view.modules.items():
        for leaf, p in module.named_parameters(recurse=False):
            name = f"{prefix}.{leaf}" if prefix else leaf
            if on.matches(role_of(view.modules, name, p), name, module):
                layers.setdefault(prefix, []).append(name)
    return {name: len(layers) - 1 - k for k, names in enumerate(layers.values()) for name in names}
