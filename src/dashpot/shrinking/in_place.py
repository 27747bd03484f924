"""A network that becomes smaller in place: its parameters stay the same objects, and so do its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from dashpot.core.errors import ConflictError
from dashpot.core.running.cut import Cut
from dashpot.core.running.tensors import tensors
from dashpot.shrinking.guard import remember
from dashpot.shrinking.plan import Plan, laid_out
from dashpot.shrinking.shrink import Shrunk


def demand_plain(model: nn.Module, found: Shrunk) -> None:
    """Refuse a smaller network that is not the large one's own numbers at fewer places.

    Raises:
        ConflictError: what left gave constants, which went into biases, other weights or the eps of a norm: averages,
            moments and best weights would need their own.
    """
    small, plan = tensors(found.model), found.plan
    own = {name: plan.cut(name, tensor) for name, tensor in tensors(model).items()}
    changed = [name for name, tensor in small.items() if name not in own or not torch.equal(tensor, own[name])]
    if changed or plan.eps:
        raise ConflictError(
            f"units of {type(model).__name__} cannot leave in place: they give constants, which go into"
            f" {', '.join([*changed, *plan.eps][:4])}. Call dashpot.shrink after the training, which makes a copy."
        )


@torch.no_grad()
def cut_of(plan: Plan, model: nn.Module) -> Cut:
    """What a plan makes of a model's tensors."""
    own = {name: tensor for name, tensor in tensors(model).items() if plan.changes(name)}
    zeros = {}
    for name, parameter in model.named_parameters():
        if name in own:
            places = torch.arange(parameter.numel(), device=parameter.device).reshape(parameter.shape)
            leaves = torch.ones(parameter.numel(), dtype=torch.bool, device=parameter.device)
            leaves[plan.cut(name, places).reshape(-1)] = False
            zeros[name] = leaves.reshape(parameter.shape) & (parameter == 0)
    return Cut({name: tensor.shape for name, tensor in own.items()}, plan.cut, zeros)


def moments_of(optimizer: Optimizer, model: nn.Module, cut: Cut) -> list[tuple[Tensor, dict[str, Any]]]:
    """The state that an optimizer has for the parameters of a model after a cut.

    Raises:
        ConflictError: it keeps what is not known to follow, such as a history of steps.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    whose, found = type(optimizer).__name__, []
    for parameter, state in optimizer.state.items():
        name = names.get(id(parameter))
        if name is None or not isinstance(state, dict):
            continue
        if any(isinstance(value, list) for value in state.values()):
            raise ConflictError(f"{whose} keeps a history of its steps, which does not follow a cut. Use another.")
        made = {k: cut.of(name, v, whose) if isinstance(v, Tensor) else v for k, v in state.items()}
        found.append((parameter, made))
    return found


@torch.no_grad()
def cut_in_place(
    plan: Plan, model: nn.Module, optimizer: Optimizer, states: Sequence[tuple[Tensor, dict[str, Any]]]
) -> None:
    """Make a model smaller, and put the states in place that :func:`moments_of` made before."""
    before = [(p, p.shape) for name, p in model.named_parameters() if plan.changes(name)]
    plan.apply(model, same=True)
    for own, shape in before:
        remember(own, shape)
    for parameter, state in states:
        optimizer.state[parameter] = {
            key: laid_out(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
            for key, value in state.items()
        }


def joined(plans: Sequence[Plan], full: Mapping[str, Tensor], small: nn.Module) -> Plan:
    """One plan that does what several do in turn.

    Args:
        full: the tensors of the network before the first.
        small: the network after the last.
    """
    if len(plans) == 1:
        return plans[0]
    kept: dict[str, dict[int, Tensor]] = {}
    grouped: dict[str, Tensor] = {}
    for name, tensor in full.items():
        if not any(plan.changes(name) for plan in plans) or name in plans[0].shared:
            continue
        index = places_of(plans, name, tensor.shape)
        coordinates = torch.unravel_index(index, tensor.shape)
        module = small.get_submodule(name.rpartition(".")[0])
        groups = module.groups if isinstance(module, _ConvNd) else 1
        for axis, places in enumerate(coordinates):
            if axis == 1 and any(name in plan.grouped for plan in plans):
                first = places.reshape(*index.shape[:2], -1)[:: len(places) // groups, :, 0]
                grouped[name] = first
                continue
            own = places.movedim(axis, 0).reshape(index.shape[axis], -1)[:, 0]
            if len(own) < tensor.shape[axis]:
                kept.setdefault(name, {})[axis] = own
    biases = tuple(dict.fromkeys(name for plan in plans for name in plan.biases))
    eps = {name: value for plan in plans for name, value in plan.eps.items()}
    return Plan(kept, biases, plans[0].shared, grouped, eps)


def places_of(plans: Sequence[Plan], name: str, shape: torch.Size) -> Tensor:
    """Where the values that stay of a tensor lie in it, as numbers of its values in order."""
    index = torch.arange(shape.numel(), device="cpu").reshape(shape)
    for plan in plans:
        index = plan.cut(name, index)
    return index


@torch.no_grad()
def spread(plans: Sequence[Plan], small: nn.Module, large: nn.Module) -> None:
    """Write a small network's values into one of the size before these plans; the weights of what left are zero."""
    own, parameters = tensors(small), dict(large.named_parameters())
    for name, tensor in tensors(large).items():
        if not any(plan.changes(name) for plan in plans):
            tensor.copy_(own[name])
            continue
        places = places_of(plans, name, tensor.shape).to(tensor.device)
        flat = tensor.detach().reshape(-1).clone()
        if name in parameters:
            flat.zero_()
        flat[places.reshape(-1)] = own[name].detach().reshape(-1).to(flat)
        tensor.copy_(flat.reshape(tensor.shape))
