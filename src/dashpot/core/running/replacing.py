"""Modules with which a technique replaces others, until they are removed again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from dashpot.core.axes import STANDARD
from dashpot.core.errors import ConflictError
from dashpot.core.running.tensors import put, tensors
from dashpot.core.running.view import ModelView


class Replaced:
    """A module in another's place, in the model, in the view and in the optimizer, until :meth:`remove`.

    Parameters that the model no longer has leave their optimizer group with their state; those that it now has join the
    group of the ones that left (else of the module that was there). Those of modules whose class says ``decays =
    False`` get a group of their own with the same options, where that one decays weights.

    Args:
        settle: writes into the original, before it comes back, what its replacement has learned.

    Raises:
        ConflictError: the model has no such module.
    """

    def __init__(
        self, view: ModelView, name: str, new: nn.Module, settle: Callable[[nn.Module, nn.Module], None]
    ) -> None:
        if not name or name not in view.modules:
            raise ConflictError(
                f"there is no module {name!r} to replace in {type(view.model).__name__}, which has"
                f" {', '.join(filter(None, view.modules))}."
            )
        self._view, self.original, self.new, self.settle = view, view.modules[name], new, settle
        device = next((p.device for p in self.original.parameters()), None)
        new.to(device) if device is not None else None
        new.train(self.original.training)
        before = {id(p): p for p in view.model.parameters()}
        owned = {id(p) for p in self.original.parameters()}
        self._places = _places(view.model, self.original)
        for parent, key in self._places:
            parent._modules[key] = new
        after = {id(p): p for p in view.model.parameters()}
        gone = before.keys() - after.keys()
        self._joined = [p for i, p in after.items() if i not in before and p.requires_grad]
        self._names = {id(p): f"{name}.{leaf}" for leaf, p in new.named_parameters()}
        self._change_groups(gone, owned)
        view.look()

    def _change_groups(self, gone: set[int], owned: set[int]) -> None:
        optimizer = self._view.optimizer
        self._groups = [(group, list(group["params"])) for group in optimizer.param_groups]
        self._beside = [{name: list(group[name]) for name in _BESIDE if name in group} for group, _ in self._groups]
        self._state: dict[Tensor, Any] = {}
        home = next((g for wanted in (gone, owned) for g, ps in self._groups if any(id(p) in wanted for p in ps)), None)
        if home is None and not owned:
            home = optimizer.param_groups[-1]  # what was there had no parameters
        for group, params in self._groups:
            for p in params:
                if id(p) in gone and p in optimizer.state:
                    self._state[p] = optimizer.state.pop(p)
            _refill(group, [p for p in params if id(p) not in gone])
        self._apart: set[int] = set()
        if home is not None and home.get("weight_decay"):
            free = [m for m in self.new.modules() if not getattr(m, "decays", True)]
            self._apart = {id(p) for m in free for p in m.parameters(recurse=False)}
            own = [(self._names[id(p)], p) for p in self._joined if id(p) in self._apart]
            options = {key: value for key, value in home.items() if key not in _OF_PARAMETERS}
            options |= {"weight_decay": 0.0, **({"penalty": None} if "penalty" in home else {})}
            if own:
                optimizer.add_param_group({**options, "params": own if "param_names" in home else [p for _, p in own]})
        if home is not None:
            joined = [p for p in self._joined if id(p) not in self._apart]
            _refill(home, [*home["params"], *joined])
            home.get("param_names", []).extend(self._names[id(p)] for p in joined)

    def remove(self) -> None:
        """The original is back, and in the optimizer what was there before; groups and parameters that came since
        stay.
        """
        self.settle(self.original, self.new)
        for parent, key in self._places:
            parent._modules[key] = self.original
        self.original.train(self.new.training)
        optimizer, joined = self._view.optimizer, {id(p) for p in self._joined}
        for p in self._joined:
            optimizer.state.pop(p, None)
        for (group, params), beside in zip(self._groups, self._beside, strict=True):
            known = joined | {id(p) for p in params}
            later = [p for p in group["params"] if id(p) not in known]
            for name, values in beside.items():
                told = {id(p): value for p, value in zip(group["params"], group[name], strict=True)}
                group[name][:] = [*values, *(told[id(p)] for p in later)]
            group["params"][:] = [*params, *later]
        groups, own = optimizer.param_groups, {self._names[id(p)] for p in self._joined}
        for group in groups:
            if "param_names" in group:
                group["param_names"] = [name for name in group["param_names"] if name not in own]
        groups[:] = [g for g in groups if not g["params"] or any(id(p) not in self._apart for p in g["params"])]
        optimizer.state.update(self._state)
        self._view.look()


def plain_copy(model: nn.Module, replaced: Sequence[Replaced], final: dict[str, Tensor]) -> nn.Module:
    """A deep copy of the model with the ``final`` tensors, and each replaced module's original in its place again;
    tensors that the two share have the final values.
    """
    twin, pairs = copy.deepcopy((model, [(one.original, one.new) for one in replaced]))
    put(tensors(twin), final)
    for (original, new), one in zip(reversed(pairs), reversed(replaced), strict=True):
        one.settle(original, new)
        for parent, key in _places(twin, new):
            parent._modules[key] = original
    return twin


_OF_PARAMETERS = ("params", "param_names", "penalized", "axes", "penalty_step")
"""What an optimizer group says of its parameters one by one."""
_BESIDE: dict[str, Any] = {"penalized": False, "axes": STANDARD}
"""What an optimizer of ours keeps in a group for each of its parameters, and what it keeps for one that joins."""


def _refill(group: dict[str, Any], params: list[Tensor]) -> None:
    """The group with these parameters in place of its own."""
    for name, joined in _BESIDE.items():
        if name in group:
            told = {id(p): value for p, value in zip(group["params"], group[name], strict=True)}
            group[name][:] = [told.get(id(p), joined) for p in params]
    group["params"][:] = params


def _places(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(parent, key) for parent in model.modules() for key, child in parent._modules.items() if child is module]
