"""Networks of one shape as one network whose parameters have a leading member axis."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.running.modes import resting
from dashpot.population.borrowed import as_before
from dashpot.population.twins import TWINS, StackedBatchNorm
from dashpot.population.twins import NotStackableError as NotStackableError
from dashpot.population.twins import StackedLinear as StackedLinear

Stack = Callable[[Sequence[nn.Module], Tensor], nn.Module]


def stacked(models: Sequence[nn.Module], probe: Tensor) -> nn.Module:
    """One network that computes on [member, batch, ...] what each of ``models`` computes on [batch, ...], with the
    parameters and buffers of all, stacked.

    Known layers are replaced by stacked twins of the same names; the modules around them run unchanged. The result is
    checked against each model alone.

    Args:
        probe: a few rows of input, for the check.

    Raises:
        NotStackableError: why this network cannot be.
    """
    whole = unchecked(models)
    check(whole, models, probe)
    return whole


def unchecked(models: Sequence[nn.Module]) -> nn.Module:
    """:func:`stacked` without the check.

    Raises:
        NotStackableError: why this network cannot be.
    """
    if names := resting(models[0]):
        raise NotStackableError(f"{', '.join(names)} stays in evaluation mode")
    # A copy of what composes the layers; the tensors it shares are replaced.
    whole = copy.deepcopy(models[0], {id(t): t for t in (*models[0].parameters(), *models[0].buffers())})
    demand_own(whole)
    if type(whole) in TWINS:
        whole = TWINS[type(whole)](whole)
    else:
        _swap(whole, {})
    load(whole, tensors_of(models))
    return whole


def load(whole: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put stacked tensors in as the parameters and buffers themselves (views stay views)."""
    for prefix, module in whole.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and dot + name in tensors:
                module._parameters[name] = nn.Parameter(tensors[dot + name], requires_grad=parameter.requires_grad)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None and dot + name in tensors:
                module._buffers[name] = tensors[dot + name]


def tensors_of(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The parameters and buffers of all models by name, stacked."""
    each = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    return {name: torch.stack([own[name].detach() for own in each]) for name in each[0]}


def normalizations(whole: nn.Module) -> list[Any]:
    """What keeps running statistics in a stacked network."""
    return [m for m in whole.modules() if isinstance(m, (StackedBatchNorm, nn.modules.batchnorm._NormBase))]


def demand_own(model: nn.Module) -> None:
    """Refuse shared parameters, and dropout that no technique has taken over.

    Raises:
        NotStackableError: naming it.
    """
    seen: set[int] = set()
    for module in model.modules():
        for p in module._parameters.values():
            if p is None:
                continue
            if id(p) in seen:
                raise NotStackableError("shared parameters")
            seen.add(id(p))
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise NotStackableError("dropout of its own (a Dropout technique would take it over)")


def _swap(module: nn.Module, done: dict[int, nn.Module]) -> None:
    """``done`` has the twins by the identity of the layer, which may stand in two places."""
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        if id(child) in done:
            module._modules[name] = done[id(child)]
            continue
        twin = TWINS.get(type(child))
        if (
            twin is None
            and any(True for _ in child.parameters(recurse=False))
            and not getattr(child, "stackable", False)
        ):
            raise NotStackableError(f"a {type(child).__name__}")
        done[id(child)] = child if twin is None else twin(child).train(child.training)
        module._modules[name] = done[id(child)]
        if twin is None:
            _swap(child, done)


@torch.no_grad()
def check(whole: nn.Module, models: Sequence[nn.Module], probe: Tensor) -> None:
    """Compare with the members alone, both in training and in evaluation mode, and restore their state.

    Raises:
        NotStackableError: they differ.
    """
    with as_before(whole, *models[:3]) as (twin, *alone):
        _compare(twin, alone, len(models), probe)


def _compare(twin: nn.Module, alone: Sequence[nn.Module], members: int, probe: Tensor) -> None:
    x = probe.unsqueeze(0).expand(members, *probe.shape)
    # A GPU may multiply in TF32, and differently so for one and for many; mixed axes differ by far more.
    loose = 1e-4 if probe.device.type == "cpu" else 2e-3
    for training in (True, False):
        try:
            out = twin.train(training)(x)
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise NotStackableError(f"its forward does not take a member axis ({str(error).splitlines()[0]})") from None
        for k, model in enumerate(alone):
            own = model.train(training)(probe)
            alike = out.shape == (members, *own.shape)
            if not alike or not torch.allclose(out[k], own, rtol=10 * loose, atol=loose * float(own.abs().max() + 1)):
                raise NotStackableError("its forward mixes axes: stacked outputs are not those of the members alone")
