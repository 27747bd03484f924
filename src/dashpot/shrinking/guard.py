"""Optimizers whose state is of a network's former size: a step of such a one is an error.

A fused optimizer goes through weights and moments by their addresses, and would take those of other weights, silently.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import TensorWeakRef

from dashpot.core.errors import UsageError

_before: dict[int, tuple[weakref.ref[nn.Parameter], set[torch.Size]]] = {}
"""The shapes that parameters had before they were cut in place, by their id."""
_watched: list[Any] = []


def remember(parameter: nn.Parameter, shape: torch.Size) -> None:
    """It was cut in place, and had this shape before."""
    number = id(parameter)
    if number not in _before or _before[number][0]() is not parameter:
        _before[number] = weakref.ref(parameter, lambda _: _before.pop(number, None)), set()
    _before[number][1].add(shape)
    if not _watched:
        _watched.append(register_optimizer_step_pre_hook(_demand_own_size))


def _demand_own_size(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Before each step of any optimizer, once something was cut in place."""
    for parameter, state in optimizer.state.items():
        held = _before.get(id(parameter))
        if held is None or held[0]() is not parameter:
            continue
        for value in state.values():
            if isinstance(value, Tensor) and value.shape != parameter.shape and value.shape in held[1]:
                raise UsageError(
                    f"this {type(optimizer).__name__} has moments of shape {list(value.shape)} of a network from before"
                    f" a cut, and the parameter has {list(parameter.shape)} now. Step the session's optimizer, which"
                    " was cut with it, or make a new one."
                )


def retire(optimizer: Optimizer) -> None:
    """Another goes on in its place: a step without gradients since then is one that was meant for the other."""
    # Of gradients themselves, not of their ids: what is freed leaves its id to the next.
    seen = [
        (TensorWeakRef(p.grad), p.grad._version)
        for group in optimizer.param_groups
        for p in group["params"]
        if p.grad is not None
    ]

    def demand_gradients(own: Optimizer, args: Any, kwargs: Any) -> None:
        grads = [p.grad for group in own.param_groups for p in group["params"] if p.grad is not None]
        old = {id(there): version for ref, version in seen if (there := ref()) is not None}
        closure = args[1] if len(args) > 1 else kwargs.get("closure")  # args[0] is the optimizer
        if closure is None and not any(old.get(id(g)) != g._version and bool(g.any()) for g in grads):
            raise UsageError(
                f"this {type(own).__name__} is of the network before the cut, and no gradient came for it since. Step"
                " the optimizer that plan.carry returned."
            )

    optimizer.register_step_pre_hook(demand_gradients)
