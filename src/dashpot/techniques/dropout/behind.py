"""The layer that takes what a module gives, where the structure of a network tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules import pooling
from torch.nn.modules.dropout import _DropoutNd

from dashpot.core.errors import ConflictError
from dashpot.core.running.view import ModelView

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.ReLU, nn.LeakyReLU, _DropoutNd)
_POOLS = (pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveMaxPoolNd, pooling._AdaptiveAvgPoolNd)


def layers_behind(technique: Any, view: ModelView) -> dict[str, str]:
    """The layer behind each place of a technique, by names.

    What lies between gives c times as much for c times the input: flattening, pooling, dropout, ReLU.

    Raises:
        ConflictError: the structure does not tell, or the layer's weight is not its own.
    """
    return {name: _behind(technique, view, name) for name in view.places(technique.on)}


def _behind(technique: Any, view: ModelView, name: str) -> str:
    told, place = f"{type(technique).__name__}(scaling='evaluation')", view.modules[name]
    names = {id(module): own for own, module in view.modules.items()}
    for module in _after(view.model, place):
        own = names[id(module)]
        if isinstance(module, _LAYERS):
            _demand_own(told, view, own)
            return own
        if not isinstance(module, (*_PASSING, *_POOLS)) or isinstance(module, nn.AlphaDropout):
            raise ConflictError(
                f"{told} at {name!r}: {own!r} ({type(module).__name__}) comes before the layer whose weights would be"
                " scaled, and would see other values. Choose other modules with on=, or leave scaling='training'."
            )
    raise ConflictError(
        f"{told} at {name!r} ({type(place).__name__}) scales the weights of the layer behind, and which that is is only"
        " known inside an nn.Sequential in which a linear or convolutional layer follows. Choose other modules with"
        " on=, or leave scaling='training'."
    )


def _in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _after(model: nn.Module, place: nn.Module) -> Iterator[nn.Module]:
    """The modules that run after ``place``, one behind the other, as far as sequences go."""
    holders = [(parent, key) for parent in model.modules() for key, part in parent._modules.items() if part is place]
    if len(holders) != 1 or not _in_order(holders[0][0]):
        return
    parent, key = holders[0]
    keys = list(parent._modules)
    for later in keys[keys.index(key) + 1 :]:
        yield from _leaves(parent._modules[later])
    if parent is not model:
        yield from _after(model, parent)


def _leaves(module: nn.Module | None) -> Iterator[nn.Module]:
    if module is not None and _in_order(module):
        for part in module._modules.values():
            yield from _leaves(part)
    elif module is not None:
        yield module


def _demand_own(told: str, view: ModelView, name: str) -> None:
    """Refuse a weight that others use, too, or that is computed."""
    module = view.modules[name]
    uses = sum(part is module for parent in view.modules.values() for part in parent._modules.values())
    weight = module._parameters.get("weight")
    held = sum(p is weight for _, p in view.model.named_parameters(remove_duplicate=False))
    if uses == 1 and weight is not None and held == 1:
        return
    why = "is computed from other parameters" if weight is None else "is used elsewhere, too"
    raise ConflictError(
        f"{told} would scale the weight of {name!r} at evaluation, which {why}. Choose other modules with on=, or leave"
        " scaling='training'."
    )
