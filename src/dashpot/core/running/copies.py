"""What is installed on a module stays out of its copies: deep copies and pickles are of the module as it was."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

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
        if parametrize.is_parametrized(module):  # torch gives these a way of their own into deep copies
            module.__dict__["__deepcopy__"] = functools.partial(_deep_copy, weakref.ref(module))

    def remove(self) -> None:
        """Nothing is kept out any more; hooks and attributes are for the caller to take away."""
        module = self._module()
        if module is None:
            return
        left = _guests[module]
        left.remove(self)
        if not left:
            del _guests[module], module.__dict__["__getstate__"]
            module.__dict__.pop("__deepcopy__", None)


def hooks_of(model: nn.Module) -> dict[nn.Module, set[int]]:
    """The numbers of the hooks of torch's own kinds on each module."""
    return {
        module: {
            number
            for name, hooks in vars(module).items()
            if name.endswith("_hooks") and isinstance(hooks, dict)
            for number in hooks
        }
        for module in model.modules()
    }


def new_guests(model: nn.Module, before: Mapping[nn.Module, set[int]]) -> list[Guest]:
    """A guest for each module that has hooks now which it had not ``before``, whoever installed them."""
    found = {module: hooks - before.get(module, set()) for module, hooks in hooks_of(model).items()}
    return [Guest(module, hooks, {}) for module, hooks in found.items() if hooks]


def _state(held: weakref.ref[nn.Module]) -> Any:
    """The state of a module without its guests."""
    module = held()
    assert module is not None
    state = type(module).__getstate__(module)  # type: ignore[no-untyped-call]  # of object
    return _without_guests(module, state) if isinstance(state, dict) else state


def _deep_copy(held: weakref.ref[nn.Module], memo: dict[int, Any]) -> nn.Module:
    """A deep copy of a module without its guests."""
    module = held()
    assert module is not None
    if id(module) in memo:
        known: nn.Module = memo[id(module)]
        return known
    made: nn.Module = type(module).__new__(type(module))
    memo[id(module)] = made
    made.__dict__ = copy.deepcopy(_without_guests(module, vars(module)), memo)
    return made


def _without_guests(module: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    state = {name: value for name, value in state.items() if name not in ("__getstate__", "__deepcopy__")}
    for guest in _guests.get(module, ()):
        for name, value in state.items():
            if "_hooks" in name and isinstance(value, dict) and not guest.hooks.isdisjoint(value):
                state[name] = type(value)((k, hook) for k, hook in value.items() if k not in guest.hooks)
        for name, value in guest.attributes.items():
            state.pop(name, None) if value is ABSENT else state.update({name: value})
    return state


_guests: weakref.WeakKeyDictionary[nn.Module, list[Guest]] = weakref.WeakKeyDictionary()
