"""Weights that a layer computes from other parameters: weight and spectral normalization, any parametrization.

What they are computed from has the role ``reparametrized`` and not ``weights``: a penalty on a direction or a length is
none on the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from dashpot.core.axes import Axes, axes_of, layer_axes
from dashpot.core.fields.select import REPARAMETRIZED, Where, parameter_role
from dashpot.core.running.modes import evaluating


@dataclass(frozen=True)
class Held:
    """A tensor that a module applies, trained or not, computed or not.

    Attributes:
        name, role, axes: its full name, its role, and which axes are outputs and inputs.
        module: whose it is.
        value: as it is now.
    """

    name: str
    role: str
    axes: Axes
    module: nn.Module
    value: Tensor

    def matches(self, on: Where) -> bool:
        return on.matches(self.role, self.name, self.module)


@dataclass(frozen=True)
class Computed:
    """A computed tensor.

    Attributes:
        how: what computes it.
        role: the role that it would have as a parameter of its module.
        module: that module.
        sources: the full names of the parameters that it is computed from.
    """

    how: str
    role: str
    module: nn.Module
    sources: tuple[str, ...]


def computed(modules: Mapping[str, nn.Module]) -> dict[str, Computed]:
    """The computed tensors of a model by their full names.

    Args:
        modules: all of the model's modules by name.
    """
    found: dict[str, Computed] = {}
    for prefix, module in modules.items():
        dot = f"{prefix}." if prefix else ""
        for leaf, how, names in _of(module):
            parameters = dict(module.named_parameters())
            sources = {name: parameters[name] for name in names if name in parameters}
            if sources:
                role = parameter_role(module, leaf, next(iter(sources.values())))
                found[dot + leaf] = Computed(how, role, module, tuple(dot + name for name in sources))
    return found


def held(model: nn.Module) -> list[Held]:
    """The tensors that a model's modules apply, in the order of the modules; a shared one once, under its first name.
    A computed weight stands for the parameters that it is computed from.
    """
    modules = dict(model.named_modules())
    made = computed(modules)
    found: list[Held] = []
    for prefix, module in modules.items():
        for leaf, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{leaf}" if prefix else leaf
            role = role_of(modules, name, parameter)
            if role != REPARAMETRIZED and not any(other.value is parameter for other in found):
                found.append(Held(name, role, axes_of(modules, name, parameter), module, parameter))
        for leaf, _, _ in _of(module):
            name = f"{prefix}.{leaf}" if prefix else leaf
            if name in made:
                value = value_of(module, leaf)
                found.append(Held(name, made[name].role, layer_axes(module, leaf, value), module, value))
    return found


@torch.no_grad()
def value_of(module: nn.Module, leaf: str) -> Tensor:
    """The computed tensor ``leaf`` of a module by its parameters as they are now; nothing is changed."""
    with evaluating(module):  # spectral normalization updates its estimate while training
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm) and hook.name == leaf:
                made: Tensor = hook.compute_weight(module)
                return made
            if isinstance(hook, SpectralNorm) and hook.name == leaf:
                return hook.compute_weight(module, do_power_iteration=False)
        own: Tensor = getattr(module, leaf)
        return own


def role_of(modules: Mapping[str, nn.Module], name: str, parameter: Tensor) -> str:
    """The role of the parameter of this full name."""
    prefix, _, leaf = name.rpartition(".")
    if "parametrizations" in prefix.split("."):
        return REPARAMETRIZED
    module = modules[prefix]
    if any(leaf in sources for _, _, sources in _of(module)):
        return REPARAMETRIZED
    return parameter_role(module, leaf, parameter)


def _of(module: nn.Module) -> list[tuple[str, str, list[str]]]:
    """Of each tensor that this module computes its name, by what, and the names of what it is computed from."""
    found: list[tuple[str, str, list[str]]] = []
    if parametrize.is_parametrized(module):
        parametrizations = module.parametrizations
        assert isinstance(parametrizations, nn.ModuleDict), "torch keeps them in one"
        for leaf, steps in parametrizations.items():
            kinds = [type(step).__name__ for step in steps]  # type: ignore[attr-defined]  # a list of modules
            how = " and ".join(kind.removeprefix("_") for kind in kinds)
            found.append((leaf, how, [f"parametrizations.{leaf}.{name}" for name, _ in steps.named_parameters()]))
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            found.append((hook.name, "weight_norm", [f"{hook.name}_g", f"{hook.name}_v"]))
        elif isinstance(hook, SpectralNorm):
            found.append((hook.name, "spectral_norm", [f"{hook.name}_orig"]))
    return found
