"""By what networks are known to compute alike: the classes and plain settings of all modules, and shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dashpot.shrinking.value import flat

PLAIN = (bool, int, float, str, bytes, type(None), complex)
OWN = frozenset(vars(nn.Module()))
"""What each module has, whatever its class."""


class _Unknown(Exception):
    """Something that says nothing of what it does."""


def known_by(model: nn.Module, example: Any, trained: Collection[str], chosen: Collection[str] | None = None) -> Any:
    """A key that only networks share whose forward does the same with the same weights; None where nothing tells:
    hooks, functions and objects among the attributes.

    Args:
        example: what it is called with.
        trained, chosen: names of parameters.
    """
    try:
        modules = tuple(
            (name, type(module), _settings(module)) for name, module in model.named_modules(remove_duplicate=False)
        )
        given = tuple((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else _plain(leaf) for leaf in flat(example))
    except _Unknown:
        return None
    first: dict[int, str] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    tensors = tuple((name, t.shape, t.dtype, first.setdefault(id(t), name)) for name, t in named)
    return modules, given, tensors, frozenset(trained), None if chosen is None else frozenset(chosen)


def _settings(module: nn.Module) -> tuple[Any, ...]:
    if module._forward_hooks or module._forward_pre_hooks:
        raise _Unknown
    return tuple((name, _plain(value)) for name, value in sorted(vars(module).items()) if name not in OWN)


def _plain(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, tuple | list):
        return (type(value), *map(_plain, value))
    if isinstance(value, Mapping):
        return (type(value), *((_plain(k), _plain(v)) for k, v in value.items()))
    if isinstance(value, FunctionType) and value.__closure__ is None and "<" not in value.__qualname__:
        return value
    raise _Unknown


def begin_anew(twin: nn.Module) -> None:
    """The same weights and statistics whatever the network has learned, so that its units are the same at any time."""
    torch.manual_seed(0)
    for module in twin.modules():
        if isinstance(module, _NormBase) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.fill_(0.5)
            module.running_var.fill_(1.0)
    for parameter in twin.parameters():
        if parameter.is_floating_point():
            drawn = torch.randn(parameter.shape, dtype=torch.float32)
            start = drawn / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 1 + 0.1 * drawn
            parameter.copy_(start)
        parameter.requires_grad_(False)
