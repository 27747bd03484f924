"""``ModelView``: a model's parameters with their roles, its modules, and the optimizer's groups."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterator
from itertools import chain
from operator import attrgetter, is_, methodcaller
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.axes import Axes, axes_of
from dashpot.core.fields.branches import branch_ends
from dashpot.core.fields.select import Where, module_role
from dashpot.core.running.computed import role_of
from dashpot.core.running.ending import ending
from dashpot.core.running.sharded import is_sharded, refuse_flat

Group = dict[str, Any]
_TRAINS, _VALUES = attrgetter("requires_grad"), methodcaller("values")


class Params:
    """An aligned list of parameters with their names and the optimizer groups that update them.

    Attributes:
        names: full dotted names.
        tensors: the parameters; a technique may write to them under ``no_grad``, which the session has switched on.
        groups: for each parameter its (live) optimizer group, so ``groups[i]["lr"]`` is its current learning rate.
        axes: for each parameter which of its axes are outputs and inputs.
    """

    def __init__(self, names: list[str], tensors: list[Tensor], groups: list[Group], axes: list[Axes]) -> None:
        self.names, self.tensors, self.groups, self.axes = names, tensors, groups, axes

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, Tensor, Group]]:
        return zip(self.names, self.tensors, self.groups, strict=True)

    @property
    def grads(self) -> list[Tensor]:
        """The gradients; every parameter here has one while a step is under way."""
        return [p.grad for p in self.tensors if p.grad is not None]

    def live(self) -> Params:
        """Those that have a gradient: an optimizer passes over the others, and so do we."""
        if all(p.grad is not None for p in self.tensors):
            return self
        return self.only([i for i, p in enumerate(self.tensors) if p.grad is not None])

    def only(self, kept: list[int]) -> Params:
        """Those at these places."""
        return Params(
            [self.names[i] for i in kept],
            [self.tensors[i] for i in kept],
            [self.groups[i] for i in kept],
            [self.axes[i] for i in kept],
        )


class ModelView:
    """The model, as techniques get it.

    Attributes:
        model: the plain module, out of any ``torch.compile`` or DistributedDataParallel wrapper.
        wrapper: what the loop calls: the module that was attached to, or its DistributedDataParallel.
        parallel: what keeps its ranks together: the wrapper, or the DistributedDataParallel of which it is a part.
        parameters: trainable parameters by name; a shared one once, under its first name.
        roles: the role of each of them.
        modules: all submodules by name.
        sharded: those that FSDP2 shards.
        ending: the names of activations whose output is the network's output, where that is known.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.wrapper = self.parallel = model
        self.model = unwrap(model)
        self.optimizer = optimizer
        self.look()

    def look(self) -> None:
        """Read the modules as they are now."""
        # What was trainable and is still there stays, frozen or not: its names are others' keys.
        known = {id(p) for p in getattr(self, "parameters", {}).values()}
        self.parameters: dict[str, nn.Parameter] = {}
        self.roles: dict[str, str] = {}
        self._owners: dict[str, nn.Module] = {}
        self.modules: dict[str, nn.Module] = dict(self.model.named_modules())
        # What drops by itself at attach stays a place of dropout, whatever rate it has by then.
        inside = {id(module) for module in self.modules.values() if _own_rate(module) > 0}
        self._dropping = inside | getattr(self, "_dropping", set())
        last = ending(self.model)
        self.ending = [name for name, module in self.modules.items() if id(module) in last]
        self.sharded: list[Any] = [module for module in self.modules.values() if is_sharded(module)]
        # FSDP2 exchanges parameters in each pass: there only modules tell.
        kinds = ("_modules",) if self.sharded else ("_modules", "_parameters")
        self._holders = [getattr(m, kind) for m in self.modules.values() for kind in kinds]
        self._made_of = self._parts()
        self._placed: dict[Where, dict[str, nn.Module]] = {}
        self._everything = dict(self.model.named_parameters(remove_duplicate=False))
        self._scan(known)
        # A shared buffer is here once, under its first name, as `named_buffers` has it.
        own = {name for name, _ in self.model.named_buffers()}
        places = [
            (f"{prefix}.{leaf}" if prefix else leaf, module, leaf)
            for prefix, module in self.modules.items()
            for leaf in module._buffers
        ]
        self._buffer_places = [place for place in places if place[0] in own]
        self._layout: tuple[int, ...] = ()
        self._group_of: dict[int, int] = {}

    def changed(self) -> bool:
        """Whether modules or parameters came, went or were replaced since the last :meth:`look`."""
        now = self._parts()
        return len(now) != len(self._made_of) or not all(map(is_, now, self._made_of))

    def seek_wrapper(self) -> None:
        """Find the DistributedDataParallel that was put around the model after attach, or around what it is a part of:
        it knows how to leave gradients of one pass to each rank, and whose scores to average.

        Raises:
            ConflictError: it was FSDP1.
        """
        if self.parallel is self.model and torch.distributed.is_available() and torch.distributed.is_initialized():
            modules: dict[int, bool] = {}  # by type: there are hundreds of thousands of objects, of few types
            for one in gc.get_objects():
                if id(kind := type(one)) not in modules:
                    modules[id(kind)] = issubclass(kind, nn.Module)
                if not modules[id(kind)]:
                    continue
                refuse_flat(one, self.model)
                if issubclass(kind, nn.parallel.DistributedDataParallel):
                    if one.module is self.model:
                        self.wrapper = self.parallel = one
                    elif any(part is self.model for part in one.module.modules()):
                        self.parallel = one

    def settle(self) -> None:
        """Where FSDP2 has put whole tensors in for a forward pass, the shards are back."""
        for module in self.sharded:
            module.reshard()

    def _parts(self) -> list[Any]:
        """What all modules are made of; at each step, so without a loop of Python's. Whoever keeps the list keeps its
        identities from being given to others.
        """
        return list(chain.from_iterable(map(_VALUES, self._holders)))

    def look_again(self) -> frozenset[str]:
        """:meth:`look`, and the names of the tensors that are no longer there, or whose place another has taken."""
        self.settle()
        before, modules = self._everything, self.modules
        self.look()
        gone = {name for name, p in before.items() if self._everything.get(name) is not p}
        for prefix, module in modules.items():  # buffers are replaced when a model is moved: their module tells
            if self.modules.get(prefix) is not module:
                gone |= {f"{prefix}.{leaf}" if prefix else leaf for leaf in module._buffers}
        return frozenset(gone)

    def _scan(self, known: Collection[int] = ()) -> None:
        """Take in what is trainable now. What was stays: its names are others' keys."""
        seen: set[int] = set()
        for prefix, module in self.modules.items():
            for leaf, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen or not (parameter.requires_grad or id(parameter) in known):
                    continue
                seen.add(id(parameter))
                name = f"{prefix}.{leaf}" if prefix else leaf
                if name not in self.parameters:
                    self.parameters[name] = parameter
                    self.roles[name] = role_of(self.modules, name, parameter)
                    self._owners[name] = module

    def names(self, on: Where) -> list[str]:
        """The parameters that ``on`` selects, whether or not the optimizer updates them."""
        return [name for name in self.parameters if on.matches(self.roles[name], name, self._owners[name])]

    def has(self, on: Where) -> bool:
        """Whether the model has any parameter that ``on`` selects, trainable or not: what is frozen may be trained
        later.
        """
        return any(
            on.matches(role_of(self.modules, name, p), name, module)
            for prefix, module in self.modules.items()
            for name, p in module.named_parameters(prefix, recurse=False)
        )

    def params(self, on: Where | None = None) -> Params:
        """The selected parameters that the optimizer updates, with their groups as they are now."""
        self._refresh()
        names = [
            n for n in (self.parameters if on is None else self.names(on)) if id(self.parameters[n]) in self._group_of
        ]
        tensors: list[Tensor] = [self.parameters[n] for n in names]
        groups = [self.optimizer.param_groups[self._group_of[id(p)]] for p in tensors]
        return Params(names, tensors, groups, [self.axes(n) for n in names])

    def axes(self, name: str) -> Axes:
        """Which axes of this parameter number its layer's outputs and inputs."""
        return axes_of(self.modules, name, self.parameters[name])

    def penalties(self) -> dict[str, Any]:
        """The parameters on which the optimizer itself has a penalty, by name, each with it."""
        own: dict[int, Any] = {}
        for group in self.optimizer.param_groups:
            if (penalty := group.get("penalty")) is not None:
                chosen = group.get("penalized", [True] * len(group["params"]))
                own |= {id(p): penalty for p, acts in zip(group["params"], chosen, strict=True) if acts}
        return {name: own[id(p)] for name, p in self.parameters.items() if id(p) in own}

    def buffers(self) -> list[tuple[str, Tensor]]:
        """The buffers by name as they are now (moving a model replaces them), without walking the module tree again."""
        return [
            (name, buffer) for name, owner, leaf in self._buffer_places if (buffer := owner._buffers[leaf]) is not None
        ]

    def layout(self) -> tuple[int, ...]:
        """Changes when the optimizer's groups are replaced or added to, or parameters unfrozen; then cached
        :class:`Params` are stale.
        """
        found: list[int] = []
        for group in self.optimizer.param_groups:
            params = group["params"]
            found += (id(group), id(group.get("penalty")), sum(map(_TRAINS, params)))
            found += map(id, params)
        return tuple(found)

    def places(self, on: Where) -> dict[str, nn.Module]:
        """The modules that ``on`` selects. The role ``hidden`` means: existing dropout modules where the model has any,
        else its activations, without those whose output is the network's output.
        """
        if (known := self._placed.get(on)) is not None:  # some ask at each step
            return dict(known)
        fallback = "dropouts" if any(self._role(m) == "dropouts" for m in self.modules.values()) else "activations"
        chosen, branches = dict[str, nn.Module](), branch_ends(self.modules)
        for name, module in self.modules.items():
            role = self._role(module)
            is_hidden = role == fallback and name not in self.ending
            aliases = (role, *["hidden"] * is_hidden, *["branches"] * (name in branches))
            if (
                name
                and any(on.matches(alias, name, module) for alias in aliases)
                and not (
                    on.names_role("everything") and any(n != "parametrizations" for n, _ in module.named_children())
                )
                and "parametrizations" not in name.split(".")
            ):
                chosen[name] = module
        self._placed[on] = dict(chosen)
        return chosen

    def drops_inside(self, module: nn.Module) -> bool:
        """Whether it drops by itself, at a rate in ``dropout``, which is where a dropout then acts."""
        return id(module) in self._dropping or isinstance(module, nn.MultiheadAttention)

    def _role(self, module: nn.Module) -> str:
        return "dropouts" if id(module) in self._dropping else module_role(module)

    def _refresh(self) -> None:
        layout = self.layout()
        if layout != self._layout:
            self._layout = layout
            self._scan()
            self._group_of = {id(p): i for i, group in enumerate(self.optimizer.param_groups) for p in group["params"]}


def _own_rate(module: nn.Module) -> float:
    """The rate at which attention and recurrent stacks drop by themselves."""
    if isinstance(module, nn.MultiheadAttention) or (isinstance(module, nn.RNNBase) and module.num_layers > 1):
        return float(module.dropout)
    return 0.0


def is_compiled(model: nn.Module) -> bool:
    """Whether ``torch.compile`` made it. Importing torch's compiler only to ask takes 2 s; while it is not imported,
    it has compiled nothing.
    """
    made = getattr(
        sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None
    )  # None also while another thread is importing it
    return made is not None and isinstance(model, made)


def unwrap(model: nn.Module) -> nn.Module:
    """The plain module under ``torch.compile`` and DistributedDataParallel."""
    while True:
        if is_compiled(model):
            model = model._orig_mod  # type: ignore[assignment]  # the module that was compiled
        elif isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model
