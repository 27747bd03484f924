"""The step that an optimizer takes along a gradient, which is the step that a proximal map must take too.

If under a constant gradient g the optimizer moves a weight by ``-s * g``, then thresholding at ``s * strength`` solves
``loss + strength * penalty`` exactly, and any other threshold solves another problem: SGD with momentum b moves by ``lr
/ (1 - b)``, Adam by ``lr / (sqrt(v_hat) + eps)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError

HALF = (torch.float16, torch.bfloat16)
"""Where a step, or eps, may be below what can be told apart: maps and their steps are computed in float32."""
Step = float | Tensor
Rule = Callable[[Mapping[str, Any], Mapping[str, Any]], Step]


def sgd_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr * (1 - dampening) / (1 - momentum)``: torch's buffer at rest is ``g * (1 - dampening) / (1 - momentum)``,
    with Nesterov too.
    """
    lr: Step = group["lr"]
    return lr * (1 - group["dampening"]) / (1 - group["momentum"]) if group["momentum"] else lr


def adam_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr / (sqrt(v / (1 - beta2^t)) + eps)``, one value per weight, as in the update that was just made."""
    lr: Step = group["lr"]
    return lr / _adam_root(group, state)


def nadam_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """Adam's, times the weights that Nesterov's look-ahead gives to gradient and momentum."""
    beta1, decay, count = group["betas"][0], group["momentum_decay"], _count(state)
    now = beta1 * (1 - 0.5 * 0.96 ** (count * decay))
    after = beta1 * (1 - 0.5 * 0.96 ** ((count + 1) * decay))
    product = state["mu_product"]  # torch keeps it in float32
    product = product.item() if isinstance(product, Tensor) and not product.is_cuda else product
    share = (1 - now) / (1 - product) + after / (1 - product * after) * (1 - beta1**count)
    step: Step = group["lr"] * share / _adam_root(group, state)
    return step


def radam_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr`` while the variance cannot be trusted (the first steps), then Adam's times the rectification."""
    beta2, count = group["betas"][1], float(_count(state))
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * count * beta2**count / (1 - beta2**count)
    lr: Step = group["lr"]
    if length <= 5:
        return lr
    rectified = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    root: Tensor = state["exp_avg_sq"].sqrt().add_(group["eps"])
    return lr * rectified * math.sqrt(1 - beta2**count) / root


def adamax_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr / u``, u the decayed largest gradient."""
    step: Step = group["lr"] / state["exp_inf"]
    return step


def rmsprop_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr / (sqrt(v) + eps)``, v centred where asked for, over ``1 - momentum``."""
    square: Tensor = state["square_avg"]
    if group["centered"]:
        square = square.addcmul(state["grad_avg"], state["grad_avg"], value=-1)
    step: Step = group["lr"] / (1 - group["momentum"]) / square.sqrt().add_(group["eps"])
    return step


def adagrad_step(group: Mapping[str, Any], state: Mapping[str, Any]) -> Step:
    """``lr / (1 + (t - 1) lr_decay) / (sqrt(sum of squares) + eps)``."""
    step: Step = group["lr"] / (1 + (_count(state) - 1) * group["lr_decay"]) / state["sum"].sqrt().add_(group["eps"])
    return step


def _adam_root(group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor:
    second: Tensor = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
    correction: Any = 1 - group["betas"][1] ** _count(state)
    return second.sqrt().div_(correction**0.5).add_(group["eps"])


def adam_scales(
    optimizer: Optimizer, parameter: Tensor, group: Mapping[str, Any]
) -> tuple[Tensor, float, float] | None:
    """``v``, a and b of Adam's step ``1 / (a * sqrt(v) + b)`` for each weight; None for other optimizers, and where
    they are not flat numbers on a CPU.
    """
    state = _own(optimizer.state.get(parameter, {}))
    lr, count = group["lr"], _count(state) if "step" in state else None
    if (
        _STEPS[type(optimizer)] is not adam_step
        or isinstance(lr, Tensor)
        or not lr
        or not count
        or isinstance(count, Tensor)
    ):
        return None
    v: Tensor = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
    if not (
        v.is_cpu and v.is_contiguous() and v.dtype == parameter.dtype and v.dtype in (torch.float32, torch.float64)
    ):
        return None
    return v.view(-1), (1 - group["betas"][1] ** count) ** -0.5 / lr, group["eps"] / lr


def _count(state: Mapping[str, Any]) -> Any:
    """Steps made: a number, or a float64 tensor on a GPU, as to read it would wait for the device, and in float32
    ``1 - beta2^t`` has three digits less at the first steps.
    """
    count = state["step"]
    if not isinstance(count, Tensor):
        return count
    return count.double() if count.is_cuda else count.item()


_STEPS: dict[type[Optimizer], Rule] = {
    torch.optim.SGD: sgd_step,
    torch.optim.Adam: adam_step,
    torch.optim.AdamW: adam_step,
    torch.optim.NAdam: nadam_step,
    torch.optim.RAdam: radam_step,
    torch.optim.Adamax: adamax_step,
    torch.optim.RMSprop: rmsprop_step,
    torch.optim.Adagrad: adagrad_step,
}
_SCALAR: set[type[Optimizer]] = {torch.optim.SGD}


def register_step_rule(optimizer: type[Optimizer], rule: Rule, *, scalar: bool = False) -> None:
    """Register the step of another optimizer, so that ``scaling="adaptive"`` works with it.

    Args:
        optimizer: its class; subclasses are not included, since they may step otherwise.
        rule: from (parameter group, state of one parameter) after a step to the step s that it makes along a constant
            gradient, one number or one per weight.
        scalar: whether that is always one number per group.

    Example:
        >>> import torch
        >>> class Plain(torch.optim.SGD): ...
        >>> register_step_rule(Plain, sgd_step, scalar=True)
    """
    _STEPS[optimizer] = rule
    if scalar:
        _SCALAR.add(optimizer)


def adaptive_step(optimizer: Optimizer, parameter: Tensor, group: Mapping[str, Any], part: slice | None = None) -> Step:
    """The optimizer's own step size for each weight, a number or a tensor of the parameter's shape.

    Args:
        part: of the flattened parameter, of a DTensor its flattened shard; then also the step is that of the part.
    """
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    if part is not None:
        shape, state = shard(parameter).shape, _own(state)
        # Only read: moments may lie otherwise in memory than the parameter, and are copied then.
        state = {
            k: v.reshape(-1)[part] if isinstance(v, Tensor) and v.ndim and v.shape == shape else v
            for k, v in state.items()
        }
    state = {k: v.float() if isinstance(v, Tensor) and v.dtype in HALF else v for k, v in state.items()}
    return _STEPS[type(optimizer)](group, state)


def shard(t: Tensor) -> Tensor:
    """The memory of this process behind a tensor: a DTensor's own part, without a copy; any other tensor itself."""
    to_local = getattr(t.detach(), "to_local", None)
    return t if to_local is None else to_local()


def _own(state: Mapping[str, Any]) -> Mapping[str, Any]:
    return {k: shard(v) if isinstance(v, Tensor) else v for k, v in state.items()}


def steps_by_one_number(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step is the same for all weights of a group."""
    return type(optimizer) in _SCALAR


def knows_step(optimizer: Optimizer) -> bool:
    """Whether the optimizer's step is known."""
    return type(optimizer) in _STEPS


def demand_known(technique: str, optimizer: Optimizer) -> None:
    """Refuse the adaptive metric for an optimizer whose step is not known, rather than guess.

    Raises:
        ConflictError: naming both and the way out.
    """
    if type(optimizer) not in _STEPS:
        known = ", ".join(dict.fromkeys(cls.__name__ for cls in _STEPS))
        raise ConflictError(
            f"{technique}(scaling='adaptive') must know the optimizer's step, and knows {known}, not"
            f" {type(optimizer).__name__}. Use one of those, teach it with dashpot.register_step_rule, or take"
            " scaling='decoupled' (threshold lr x strength)."
        )
    for group in optimizer.param_groups:
        if "dampening" in group and group["momentum"] >= 1:
            raise ConflictError(f"{technique} needs SGD with momentum below 1, got {group['momentum']}.")
