"""Layers that compute with other weights than their own while they are called in training mode."""

from __future__ import annotations

from typing import Any

from torch import nn

from dashpot.core.running.copies import Guest
from dashpot.techniques.dropout.hook import DropHook

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Masked:
    """While the layer runs in training mode, masked weights stand in front of its own."""

    def __init__(self, module: nn.Module, hooks: list[tuple[str, DropHook]]) -> None:
        self._hooks = hooks
        self._handles = [
            module.register_forward_pre_hook(_Before(hooks)),
            module.register_forward_hook(_Behind(hooks), always_call=True),
        ]
        self._guest = Guest(module, [handle.id for handle in self._handles], {})

    def remove(self) -> None:
        self._guest.remove()
        for _, hook in self._hooks:
            hook.rate.zero_()  # code compiled with the hook inside keeps it; at rate 0 it is the identity
        for handle in self._handles:
            handle.remove()


class _Before:
    def __init__(self, hooks: list[tuple[str, DropHook]]) -> None:
        self.hooks, self.drops = hooks, [hook for _, hook in hooks]

    def __call__(self, module: nn.Module, args: Any) -> None:
        masked = {leaf: hook(module, args, getattr(module, leaf)) for leaf, hook in self.hooks}
        if any(weight is None for weight in masked.values()):
            return
        if isinstance(module, nn.RNNBase):
            named = zip(module._flat_weights_names, _flat(module), strict=True)
            module._flat_weights = [masked.get(name, own) for name, own in named]
        else:
            module.__dict__.update(masked)  # found before the parameters, which stay where they are


class _Behind:
    def __init__(self, hooks: list[tuple[str, DropHook]]) -> None:
        self.hooks = hooks

    def __call__(self, module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(module, nn.RNNBase):
            module._flat_weights = _flat(module)
        for leaf, _ in self.hooks:
            module.__dict__.pop(leaf, None)


def _flat(module: nn.RNNBase) -> list[Any]:
    """The recurrent layer's own parameters, in the order of its kernels."""
    return [getattr(module, name, None) for name in module._flat_weights_names]
