"""Which normalization fits a layer, or stands for another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dashpot.core.errors import ConflictError
from dashpot.techniques.normalization.ghost_batch_norm import GHOSTS
from dashpot.training.flow import Flow

_BATCH: tuple[Any, ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE: tuple[Any, ...] = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
CHANNELS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
"""Those that normalize the second axis."""
LAST = (nn.LayerNorm, nn.RMSNorm)
"""Those that normalize the last one."""


def behind(name: str, layer: Any, kind: str, groups: int, size: int, flow: Flow) -> nn.Module:
    """The normalization that fits behind this layer."""
    linear = isinstance(layer, nn.Linear)
    channels = layer.out_features if linear else layer.out_channels
    dims = 1 if linear else layer.weight.ndim - 2
    seen = flow.axes.get(name)
    if linear and seen is not None and seen != 2 and kind not in ("layer", "rms"):
        raise ConflictError(
            f"insert: {kind!r} cannot stand behind {name!r}, whose outputs have {seen} axes with the features last. Use"
            " 'layer' or 'rms', or leave it out with on=."
        )
    if linear and kind in ("layer", "rms"):
        return nn.LayerNorm(channels) if kind == "layer" else nn.RMSNorm(channels)
    if kind == ("instance" if linear else "rms"):
        way = "Use 'layer' or 'batch', or leave it out with on=."
        raise ConflictError(f"insert: {kind!r} cannot stand behind {name!r} ({type(layer).__name__}). {way}")
    return _of_channels(name, channels, dims, kind, groups, size, layer.weight)


def _of_channels(name: str, channels: int, dims: int, kind: str, groups: int, size: int, like: Any) -> nn.Module:
    if kind == "group" and channels % groups:
        raise ConflictError(
            f"groups must divide the channels of each normalization, and {name!r} has {channels}, got {groups}. Choose"
            " another number, or leave it out with on=."
        )
    make: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: _BATCH[dims - 1](channels),
        "ghost": lambda: GHOSTS[_BATCH[dims - 1]](channels).take(_BATCH[dims - 1](channels), size),
        "sync": lambda: nn.SyncBatchNorm(channels),
        "layer": lambda: nn.GroupNorm(1, channels),
        "group": lambda: nn.GroupNorm(groups, channels),
        "instance": lambda: _INSTANCE[dims - 1](channels, affine=True),
    }
    return make[kind]()


def other(name: str, norm: Any, to: str, groups: int, size: int, flow: Flow) -> nn.Module:
    """The normalization that another becomes, with parameters of its own yet."""
    told = f"convert: {name!r} ({type(norm).__name__}) cannot become {to!r}"
    if isinstance(norm, LAST) != (to == "rms") and not (isinstance(norm, LAST) and to == "layer"):
        reason = "it normalizes the last axis, and others the second" if isinstance(norm, LAST) else ""
        reason = reason or "it normalizes the second axis, and RMSNorm the last"
        raise ConflictError(f"{told}: {reason}. Leave it out with on=.")
    if isinstance(norm, LAST):
        shape, affine = norm.normalized_shape, norm.elementwise_affine
        eps = norm.eps if norm.eps is not None else 1e-5
        kinds: Any = nn.LayerNorm if to == "layer" else nn.RMSNorm
        return kinds(shape, eps, affine)  # type: ignore[no-any-return]  # one of torch's
    channels = norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features
    dims = next((d + 1 for d in range(3) if isinstance(norm, (_BATCH[d], _INSTANCE[d]))), None)
    seen = flow.axes.get(name)
    dims = max(seen - 2, 1) if dims is None and seen is not None else dims
    if dims is None and to in ("batch", "ghost", "instance"):
        raise ConflictError(f"{told}, as it does not tell how many axes its input has. Give one batch: x=.")
    weight = norm.weight
    new: Any = _of_channels(name, channels, dims or 1, to, groups, size, weight)
    new.eps = norm.eps
    return new  # type: ignore[no-any-return]  # one of torch's


def share(modules: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Parameters, statistics and mode of the old in the new ones, where they have such."""
    for name, new in made.items():
        old = modules[name]
        for leaf in ("weight", "bias"):
            if leaf in new._parameters and getattr(old, leaf, None) is not None:
                new._parameters[leaf] = getattr(old, leaf)
            elif leaf in new._parameters and getattr(old, "affine", getattr(old, "elementwise_affine", True)) is False:
                new._parameters[leaf] = None
        if isinstance(old, _BatchNorm) and isinstance(new, _BatchNorm):
            new._buffers.update(old._buffers)
            new.momentum, new.track_running_stats = old.momentum, old.track_running_stats
        place = next((t for t in (*old.parameters(), *old.buffers()) if t.is_floating_point()), None)
        if place is not None:
            new.to(place.device, place.dtype)
        new.train(old.training)


def is_already(norm: Any, new: Any) -> bool:
    """Whether a normalization is what it would become."""
    same = type(norm) is type(new)
    return same and all(getattr(norm, n, None) == getattr(new, n, None) for n in ("num_groups", "size"))


def shown(norm: Any) -> str:
    """A normalization in a few words."""
    if isinstance(norm, nn.GroupNorm):
        return f"GroupNorm({norm.num_groups}, {norm.num_channels})"
    count = norm.normalized_shape[0] if isinstance(norm, LAST) else norm.num_features
    size = f", parts of {norm.size} rows" if hasattr(norm, "size") else ""
    return f"{type(norm).__name__}({count}{size})"
