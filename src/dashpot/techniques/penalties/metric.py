"""The step that an optimizer takes along a gradient, which is the step that a proximal map must take too.

If at rest the optimizer moves a weight by ``-s * g``, then thresholding at ``s * strength`` solves ``loss + strength * penalty`` exactly,
and any other threshold solves another problem: SGD with momentum b moves by ``lr / (1 - b)``, Adam by ``lr / (sqrt(v_hat) + eps)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError

Step = float | Tensor


def sgd_step(group: dict[str, Any], state: dict[str, Any]) -> Step:
    """``lr * (1 - dampening) / (1 - momentum)``: torch's buffer at rest is ``g * (1 - dampening) / (1 - momentum)``, with Nesterov too."""
    lr: Step = group["lr"]
    return lr * (1 - group["dampening"]) / (1 - group["momentum"]) if group["momentum"] else lr


def adam_step(group: dict[str, Any], state: dict[str, Any]) -> Step:
    """``lr / (sqrt(v / (1 - beta2^t)) + eps)``, one value per weight, as in the update that was just made."""
    second: Tensor = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    count = state["step"]
    if isinstance(count, Tensor):
        count = count if count.is_cuda else count.item()
    correction: Any = 1 - group["betas"][1] ** count
    root = second.sqrt().div_(correction**0.5)
    lr: Step = group["lr"]
    return lr / root.add_(group["eps"])


_STEPS: dict[type[Optimizer], Callable[[dict[str, Any], dict[str, Any]], Step]] = {
    torch.optim.SGD: sgd_step,
    torch.optim.Adam: adam_step,
    torch.optim.AdamW: adam_step,
}


def adaptive_step(optimizer: Optimizer, parameter: Tensor, group: dict[str, Any]) -> Step:
    """The optimizer's own step size for each weight, a number or a tensor of the parameter's shape."""
    return _STEPS[type(optimizer)](group, optimizer.state.get(parameter, {}))


def demand_known(technique: str, optimizer: Optimizer) -> None:
    """Refuse the adaptive metric for an optimizer whose step is not known, rather than guess.

    Raises:
        ConflictError: naming both and the way out.
    """
    if type(optimizer) not in _STEPS:
        known = ", ".join(cls.__name__ for cls in _STEPS)
        raise ConflictError(
            f"{technique}(metric='adaptive') must know the optimizer's step, and knows {known}, not {type(optimizer).__name__}. "
            "Use one of those, or metric='decoupled' (threshold lr x strength)."
        )
    if isinstance(optimizer, torch.optim.SGD) and any(group["momentum"] >= 1 for group in optimizer.param_groups):
        raise ConflictError(f"{technique} needs SGD with momentum below 1.")
