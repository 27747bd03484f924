"""Rules by operation, and what is done where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.units import PINNED
from dashpot.shrinking.value import Step, Value

Rule = Callable[[Step], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def unknown(step: Step, why: str | None = None) -> None:
    """Everything that it reads stays, and each result depends on all of it."""
    reason = why or f"{step.operation} has no rule"
    sources = step.tensors()
    for source in sources:
        step.pin(source, f"{reason}{f' (in {step.where})' if step.where else ''}")
    outs = list(step.out) if isinstance(step.out, tuple | list) else [step.out]

    def flow(*masks: Tensor) -> Any:
        total = sum((mask.sum() for mask in masks), torch.zeros(()))
        return [total.expand(out.shape) for out in outs]

    step.give(flow, [pinned(out) for out in outs], sources)


def pinned(out: Tensor) -> Tensor:
    """Labels of what stays."""
    return torch.full((1,) * out.ndim, PINNED).expand(out.shape)


def joined(step: Step, there: Tensor, parts: Iterable[Any], told: str = "numbers that are") -> bool:
    """Make one unit of each label and its place in vectors of the network's own, such as a bias or a norm's scale;
    where a vector is computed, all that the step reads stays.

    Args:
        there: labels [..., channels].
        parts: vectors [channels]; what is no value, such as a bias that is None, is passed over.
        told: what they are, for the reason.
    """
    for part in parts:
        if isinstance(part, Value):
            own = step.axis(part, 0) if part.name is not None and part.value.ndim == 1 else None
            if own is None or len(own) != there.shape[-1]:
                unknown(step, f"{step.operation} with {told} computed")
                return False
            step.units.join(there, own)
    return True
