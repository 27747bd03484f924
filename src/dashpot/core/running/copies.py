"""What is installed on a module stays out of its copies: deep copies and pickles are of the module as it was."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

ABSENT = object()
"""What an attribute was that the module did not have."""


class Guest:
    """Hooks and attributes of ours on one module, until :meth:`remove`.

    Copying and pickling ask an object for its ``__getstate__``, which modules have no other use for: while there are
    guests, one that leaves them out stands in the module.
    """

    def __init__(self, module: nn.Module, hooks: Iterable[int], attributes: Mapping[str, Any]) -> None:
        self._module = weakref.ref(module)
        self.hooks, self.attributes = frozenset(hooks), dict(attributes)
        _guests.setdefault(module, []).append(self)
        module.__dict__["__getstate__"] = functools.partial(_state, weakref.ref(module))

    def remove(self) -> None:
        """Nothing is kept out any more; hooks and attributes are for the caller to take away."""
        module = self._module()
        if module is None:
            return
        left = _guests[module]
        left.remove(self)
        if not left:
            del _guests[module], module.__dict__["__getstate__"]


def guests_of(model: nn.Module, handles: Iterable[Any]) -> list[Guest]:
    """A guest for each module that has one of torch's hooks behind these handles."""
    dicts = {
        id(hooks): module
        for module in model.modules()
        for name, hooks in vars(module).items()
        if name.endswith("_hooks") and isinstance(hooks, dict)
    }
    found: dict[nn.Module, list[int]] = {}
    for handle in handles:
        if isinstance(handle, RemovableHandle) and (module := dicts.get(id(handle.hooks_dict_ref()))) is not None:
            found.setdefault(module, []).append(handle.id)
    return [Guest(module, hooks, {}) for module, hooks in found.items()]


def _state(held: weakref.ref[nn.Module]) -> Any:
    """The state of a module without its guests."""
    module = held()
    assert module is not None
    state = type(module).__getstate__(module)  # type: ignore[no-untyped-call]  # of object
    if not isinstance(state, dict):
        return state
    state = {name: value for name, value in state.items() if name != "__getstate__"}
    for guest in _guests.get(module, ()):
        for name, value in state.items():
            if "_hooks" in name and isinstance(value, dict) and not guest.hooks.isdisjoint(value):
                state[name] = type(value)((k, hook) for k, hook in value.items() if k not in guest.hooks)
        for name, value in guest.attributes.items():
            state.pop(name, None) if value is ABSENT else state.update({name: value})
    return state


_guests: weakref.WeakKeyDictionary[nn.Module, list[Guest]] = weakref.WeakKeyDictionary()
