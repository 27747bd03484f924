"""The direction in which an optimizer is about to move weights, known before it does.

Only signs count: a weight moves by minus a positive number times its direction. Rules are by the exact class, since a
subclass may step otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError
from dashpot.core.running.direction import direction

Rule = Callable[[Mapping[str, Any], Mapping[str, Any], Tensor], Tensor]
"""From a parameter's group, its state before the step and its gradient (downhill) to the direction."""


def sgd_direction(group: Mapping[str, Any], state: Mapping[str, Any], g: Tensor) -> Tensor:
    """The momentum that will be, by Nesterov with the gradient in front."""
    before, momentum = state.get("momentum_buffer"), group["momentum"]
    if not momentum:
        return g
    moment: Tensor = g if before is None else before * momentum + (1 - group["dampening"]) * g
    return g + momentum * moment if group["nesterov"] else moment


def adam_direction(group: Mapping[str, Any], state: Mapping[str, Any], g: Tensor) -> Tensor:
    """The first moment that will be."""
    before: Tensor | None = state.get("exp_avg")
    return g if before is None else before.lerp(g.to(before.dtype), float(1 - group["betas"][0]))


def nadam_direction(group: Mapping[str, Any], state: Mapping[str, Any], g: Tensor) -> Tensor:
    """Gradient and first moment as Nesterov's look-ahead weighs them."""
    beta1, decay = group["betas"][0], group["momentum_decay"]
    count = state["step"] + 1 if "step" in state else 1
    now = beta1 * (1 - 0.5 * 0.96 ** (count * decay))
    after = beta1 * (1 - 0.5 * 0.96 ** ((count + 1) * decay))
    product = state.get("mu_product", 1.0) * now
    moment = (1 - beta1) * g if "exp_avg" not in state else adam_direction(group, state, g)
    ahead: Tensor = g * ((1 - now) / (1 - product)) + moment * (after / (1 - product * after))
    return ahead


def rmsprop_direction(group: Mapping[str, Any], state: Mapping[str, Any], g: Tensor) -> Tensor:
    """The gradient, or the momentum that will be of gradients over their root mean square."""
    if not group["momentum"] or "momentum_buffer" not in state:
        return g
    square = state["square_avg"].lerp(g.square(), 1 - group["alpha"])
    if group["centered"]:
        square = square - state["grad_avg"].lerp(g, 1 - group["alpha"]).square()
    moment: Tensor = group["momentum"] * state["momentum_buffer"] + g / square.sqrt().add_(group["eps"])
    return moment


def gradient_direction(group: Mapping[str, Any], state: Mapping[str, Any], g: Tensor) -> Tensor:
    """The gradient."""
    return g


_DIRECTIONS: dict[type[Optimizer], Rule] = {
    torch.optim.SGD: sgd_direction,
    torch.optim.Adam: adam_direction,
    torch.optim.AdamW: adam_direction,
    torch.optim.RAdam: adam_direction,
    torch.optim.Adamax: adam_direction,
    torch.optim.NAdam: nadam_direction,
    torch.optim.RMSprop: rmsprop_direction,
    torch.optim.Adagrad: gradient_direction,
}


def register_direction(optimizer: type[Optimizer], rule: Rule) -> None:
    """Teach the direction of another optimizer."""
    _DIRECTIONS[optimizer] = rule


def coming_direction(optimizer: Optimizer, parameter: Tensor, group: Mapping[str, Any], gradient: Tensor) -> Tensor:
    """The direction of the coming step of a parameter, of its shape."""
    dense = gradient.to_dense() if gradient.layout is torch.sparse_coo else gradient
    downhill = dense if direction(group) > 0 else -dense
    return _DIRECTIONS[type(optimizer)](group, optimizer.state.get(parameter, {}), downhill)


def demand_direction(technique: str, optimizer: Optimizer) -> None:
    """Refuse an optimizer whose direction is not known, rather than guess.

    Raises:
        ConflictError: naming both and the way out.
    """
    if type(optimizer) not in _DIRECTIONS:
        known = ", ".join(dict.fromkeys(cls.__name__ for cls in _DIRECTIONS))
        raise ConflictError(
            f"{technique} must know in which direction the optimizer moves weights, and knows {known}, not"
            f" {type(optimizer).__name__}. Use one of those, or WeightDecay."
        )
