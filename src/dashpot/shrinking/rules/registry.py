"""Rules by operation, and what is done where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dashpot.shrinking.units import PINNED
from dashpot.shrinking.value import Step

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
