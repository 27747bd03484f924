"""``insert`` and ``convert``: normalization layers put into a model, or made of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import check_whole
from dashpot.core.fields.select import Where, module_role
from dashpot.core.running.attach import Mark, plain_optimizer
from dashpot.core.running.view import ModelView
from dashpot.training.flow import CHANNEL_LAYERS, Flow
from dashpot.training.norm_kinds import CHANNELS, LAST, behind, is_already, other, share, shown

KINDS = ("batch", "ghost", "sync", "layer", "group", "rms", "instance")


@dataclass(frozen=True)
class NormPlan:
    """What was done to a model.

    Attributes:
        changed: by the name of each module that was put in, what it is and what it stands behind or was before.
        skipped: by the name of each layer or normalization that was left as it is, why.
        new_parameters: the names of parameters that came; an optimizer that was made before does not have them.
    """

    changed: Mapping[str, str]
    skipped: Mapping[str, str]
    new_parameters: tuple[str, ...]

    def __str__(self) -> str:
        rows = [*self.changed.items(), *((name, f"left: {why}") for name, why in self.skipped.items())]
        return "\n".join(f"{name}: {text}" for name, text in rows)


def insert(
    model: nn.Module,
    kind: str = "batch",
    *,
    on: Where | str | None = None,
    groups: int = 8,
    size: int = 32,
    x: Any = None,
    optimizer: Optimizer | None = None,
) -> NormPlan:
    """Put a normalization behind each linear layer and convolution that stands in front of an activation.

    Never behind the output layer, nor where a normalization follows already. In an ``nn.Sequential`` it becomes a
    module of its own, ``0_norm`` behind ``0``, so that no other name changes; elsewhere the layer becomes an
    ``nn.Sequential`` of both. Which layer feeds what is read by ``torch.fx``, else from a pass with ``x``, else from
    neighbours in ``nn.Sequential``.

    Args:
        model: changed in place, before an optimizer is made and a recipe attached.
        kind: ``"batch"``, ``"ghost"`` (of parts of ``size`` rows), ``"sync"`` (over all processes), ``"layer"``,
            ``"group"``, ``"rms"`` or ``"instance"``; 1d to 3d by the layer. Behind a convolution ``"layer"`` is
            ``nn.GroupNorm(1, channels)``, over channels and positions.
        on: layers by role, type or name, whatever follows them, such as ``"convolutions"``; None: as above.
        groups: of ``"group"``; must divide each number of channels.
        size: of ``"ghost"``.
        x: one input batch, for models that ``torch.fx`` cannot read, and to see whether a linear layer is applied to
            [batch, features].
        optimizer: where there is one already: refused, as it would lack the new parameters.

    Returns:
        What was put where, and what was left, by name.

    Raises:
        ConfigError: an unknown ``kind``, ``groups`` or ``size``.
        ConflictError: nothing to do, channels that ``groups`` does not divide, a layer that ``kind`` does not fit or
            that has several places, an optimizer or an open session. The model is as before then.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> print(dashpot.normalization.insert(model, "batch"))
        0_norm: BatchNorm1d(8) behind 0
        2: left: it is an output layer
        >>> [type(module).__name__ for module in model]
        ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']

    When not to use it: on trained weights, whose outputs it changes, without training on.
    """
    _check(model, kind, groups, size, optimizer)
    flow = Flow(model, x)
    modules = dict(model.named_modules())
    where = Where.parse(on) if isinstance(on, str) else on
    chosen: dict[str, nn.Module] = {}
    skipped: dict[str, str] = {}
    for name, layer in modules.items():
        if not isinstance(layer, CHANNEL_LAYERS):
            continue
        if where is not None and not where.matches(module_role(layer), name, layer):
            continue
        if why := _why_not(name, layer, flow, named=where is not None):
            skipped[name] = why
        else:
            chosen[name] = layer
    made = {name: behind(name, layer, kind, groups, size, flow) for name, layer in chosen.items()}
    if not made:
        told = "; ".join(f"{name}: {why}" for name, why in skipped.items()) or "it has no such layer"
        raise ConflictError(
            f"insert finds no layer of {type(model).__name__} to stand behind ({told}). Choose with on=."
        )
    if optimizer is not None:
        raise ConflictError(
            f"insert brings parameters that this {type(optimizer).__name__} does not have. Insert first, then make it."
        )
    changed = {}
    for name, norm in made.items():
        layer = chosen[name]
        norm.to(layer.weight.device, layer.weight.dtype)  # type: ignore[arg-type]  # they are a tensor's
        norm.train(layer.training)
        changed[_put(modules, name, layer, norm)] = f"{shown(norm)} behind {name}"
    new = [f"{name}.{leaf}" for name in changed for leaf, _ in dict(model.named_modules())[name].named_parameters()]
    return NormPlan(changed, skipped, tuple(new))


def convert(
    model: nn.Module,
    to: str,
    *,
    on: Where | str | None = None,
    groups: int = 8,
    size: int = 32,
    x: Any = None,
    optimizer: Optimizer | None = None,
) -> NormPlan:
    """Make other normalizations of a model's own; scales and shifts are the same parameters as before.

    Between ``"batch"``, ``"ghost"`` and ``"sync"`` running statistics stay, too, and outputs in evaluation mode are
    equal. Others normalize otherwise: train on.

    Args:
        model: changed in place.
        to: as ``kind`` of :func:`insert`. Of normalizations over channels ``"layer"`` makes ``nn.GroupNorm(1,
            channels)``; ``nn.LayerNorm`` and ``nn.RMSNorm``, over the last axis, become each other only.
        on: normalizations by type or name, such as ``"type:BatchNorm2d"``; all by default.
        groups, size: of ``"group"`` and ``"ghost"``.
        x: one input batch, where a normalization does not tell how many axes its input has.
        optimizer: where there is one already: refused where it has parameters that would go, or lacks new ones.

    Returns:
        As :func:`insert`.

    Raises:
        ConfigError: an unknown ``to``, ``groups`` or ``size``.
        ConflictError: as for :func:`insert`; a normalization that has several places or whose parameters the model
            reads without calling it; ``"sync"`` in processes without a GPU, on which torch's is refused in training.
            The model is as before then.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> print(dashpot.normalization.convert(model, "group", groups=4))
        1: GroupNorm(4, 8), was BatchNorm2d
    """
    _check(model, to, groups, size, optimizer)
    flow = Flow(model, x)
    modules = dict(model.named_modules())
    where = Where.parse(on) if isinstance(on, str) else on
    made: dict[str, nn.Module] = {}
    skipped: dict[str, str] = {}
    for name, norm in modules.items():
        if not isinstance(norm, (*CHANNELS, *LAST)) or (where and not where.matches("norms", name, norm)):
            continue
        if why := flow.misused(name):
            raise ConflictError(f"convert cannot replace {name or 'the model itself'!r}: {why}. Leave it out with on=.")
        new = other(name, norm, to, groups, size, flow)
        if is_already(norm, new):
            skipped[name] = f"it is {shown(norm)} already"
        else:
            made[name] = new
    if not made:
        told = "; ".join(f"{name}: {why}" for name, why in skipped.items()) or "it has none that is selected"
        raise ConflictError(f"convert finds no normalization of {type(model).__name__} to change ({told}).")
    old = {id(p) for p in model.parameters()}
    share(modules, made)
    fresh = [f"{name}.{leaf}" for name, new in made.items() for leaf, p in new.named_parameters() if id(p) not in old]
    kept = {id(p) for new in made.values() for p in new.parameters()}
    gone = {f"{name}.{leaf}": p for name in made for leaf, p in modules[name].named_parameters() if id(p) not in kept}
    if optimizer is not None:
        held = {id(p) for group in plain_optimizer(optimizer).param_groups for p in group["params"]}
        lost = [name for name, p in gone.items() if id(p) in held]
        if lost or fresh:
            told = f"holds {', '.join(lost)}, which would go" if lost else f"lacks {', '.join(fresh)}, which would come"
            raise ConflictError(f"this {type(optimizer).__name__} {told}. Convert first, then make the optimizer.")
    changed = {}
    for name, new in made.items():
        lost = [leaf.rpartition(".")[2] for leaf in gone if leaf.rpartition(".")[0] == name]
        without = f", without its {' and '.join(lost)}" if lost else ""
        changed[name] = f"{shown(new)}, was {type(modules[name]).__name__}{without}"
        home, _, leaf = name.rpartition(".")
        modules[home]._modules[leaf] = new
    return NormPlan(changed, skipped, tuple(fresh))


def _check(model: nn.Module, kind: str, groups: int, size: int, optimizer: Optimizer | None) -> None:
    if kind not in KINDS:
        raise ConfigError("kind", f"one of {', '.join(KINDS)}", kind)
    check_whole("groups", groups)
    check_whole("size", size, low=2)
    plain = plain_optimizer(optimizer) if optimizer is not None else torch.optim.SGD([torch.zeros(1)], lr=0.1)
    Mark.refuse(ModelView(model, plain))
    backend = torch.distributed.is_available() and torch.distributed.is_initialized()
    place = next((p.device.type for p in model.parameters()), "cpu")
    if kind == "sync" and backend and place == "cpu":
        raise ConflictError(
            "torch's SyncBatchNorm synchronizes on GPUs only, and this model is on the CPU in a process group of"
            f" {torch.distributed.get_backend()}. Move the model first, or use kind 'group' or 'layer', which need no"
            " statistics of other processes."
        )


def _why_not(name: str, layer: nn.Module, flow: Flow, *, named: bool) -> str:
    if not name:
        return "the model itself"
    if name in flow.heads:
        return "it is an output layer"
    if why := flow.misused(name):
        return why
    if flow.normed(name):
        return "a normalization follows already"
    if not named and not flow.activated(name):
        return "no activation follows"
    return ""


def _put(modules: dict[str, nn.Module], name: str, layer: nn.Module, norm: nn.Module) -> str:
    """The normalization behind the layer; its name."""
    home, _, leaf = name.rpartition(".")
    parent, dot = modules[home], f"{home}." if home else ""
    if type(parent) is nn.Sequential:
        parts: dict[str, Any] = {}
        for key, child in parent._modules.items():
            parts[key] = child
            if child is layer:
                parts[f"{leaf}_norm"] = norm
        parent._modules.clear()
        parent._modules.update(parts)
        return f"{dot}{leaf}_norm"
    parent._modules[leaf] = nn.Sequential(layer, norm)
    return f"{name}.1"
