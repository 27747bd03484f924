"""A forward hook that adds noise, until it is removed."""

from __future__ import annotations

from typing import Any

from torch import nn

from dashpot.techniques.dropout.hook import DropHook


class Hooked:
    """A hook after a module."""

    def __init__(self, module: nn.Module, hook: DropHook) -> None:
        self._hook: Any = hook
        self._handle = module.register_forward_hook(hook)

    def remove(self) -> None:
        self._hook.rate.zero_()  # code compiled with the hook inside keeps it; at 0 it is the identity
        self._handle.remove()
