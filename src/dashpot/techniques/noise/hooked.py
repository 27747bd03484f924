"""A forward hook that adds noise, until it is removed."""

from __future__ import annotations

from typing import Any

from torch import nn

from dashpot.core.running.copies import Guest
from dashpot.techniques.dropout.hook import DropHook


class Hooked:
    """A hook after a module that stays out of copies."""

    def __init__(self, module: nn.Module, hook: DropHook) -> None:
        self._hook: Any = hook
        self._handle = module.register_forward_hook(hook)
        self._guest = Guest(module, [self._handle.id], {})

    def remove(self) -> None:
        self._guest.remove()
        self._hook.rate.zero_()  # code compiled with the hook inside keeps it; at 0 it is the identity
        self._handle.remove()
