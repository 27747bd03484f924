"""The forward hook of techniques that drop activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from dashpot.core.errors import UsageError
from dashpot.core.rng import derive, stream
from dashpot.core.running.context import Context
from dashpot.core.running.copies import ABSENT, Guest


def place_key(key: int, name: str, rank: int) -> int:
    """The random stream of a place: adding a place shifts no other's masks."""
    place = stream(key, name)
    return derive(place, rank) if rank else place


def _passed(x: Tensor) -> Tensor:
    """The ``forward`` of a dropout module that is taken over: the hook drops."""
    return x


class After:
    """A hook after a module, until it is removed. A dropout module shows our rate as its own ``p``, for attention that
    reads it there and never calls the module, and drops nothing itself.
    """

    def __init__(self, module: nn.Module, hook: DropHook, ctx: Context) -> None:
        self._module, self._hook = module, hook
        self._handle = module.register_forward_hook(hook)
        self._own: dict[str, Any] = {}
        if isinstance(module, _DropoutNd):
            self._own = {"p": module.p, "forward": module.__dict__.get("forward", ABSENT)}
            ctx.show("p", lambda rate: setattr(module, "p", rate))
            module.__dict__["forward"] = _passed
        self._guest = Guest(module, [self._handle.id], self._own)

    def remove(self) -> None:
        self._guest.remove()
        self._hook.rate.zero_()  # code compiled with the hook inside keeps it; at rate 0 it is the identity
        self._handle.remove()
        put_back(self._module, self._own)


def put_back(module: nn.Module, attributes: dict[str, Any]) -> None:
    """The module's own attributes."""
    for name, value in attributes.items():
        if value is ABSENT:
            module.__dict__.pop(name, None)
        else:
            setattr(module, name, value)


def drop_hooks(model: nn.Module) -> list[DropHook]:
    """What drops in a model by techniques of ours: hooks, and those that a hook or a ``forward`` of ours has as its
    ``drops``.
    """
    found: list[DropHook] = []
    for module in model.modules():
        ours = (*module._forward_pre_hooks.values(), *module._forward_hooks.values(), module.__dict__.get("forward"))
        for one in ours:
            found += [one] if isinstance(one, DropHook) else getattr(one, "drops", ())
    return found


class DropHook:
    """Changes what a module returns in training mode. A class, not a closure, so that it can be compiled.

    Class attributes:
        technique: its name, for errors.
        first: of a tuple, such as a recurrent layer's output and state, the first is changed.
        whole_batch: one mask holds for all rows of a batch.
        sampling: it acts in evaluation mode, too; set on an instance while a model is sampled from.
        refuses_sampling: why a model with it cannot be sampled from, and the way out.

    Args:
        key: of the place's random stream.
        clock: of the run, :meth:`Context.clock`.
        rate: 0-d, the probability of dropping; at 0 the hook must be the identity.
    """

    technique = ""
    first = False
    whole_batch = False
    sampling = False
    refuses_sampling = ""

    def __init__(self, key: int, clock: Tensor, rate: Tensor) -> None:
        self.key, self.clock, self.rate = key, clock, rate
        self.tick = torch.tensor([0, 1], device="cpu")

    def drop(self, out: Tensor) -> Tensor:
        """What passes."""
        raise NotImplementedError  # each technique says it

    def passed(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """What passes, where it depends on more than what the module returned."""
        return self.drop(out)

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Any:
        if not (module.training or self.sampling):
            return None
        if self.first and type(out) is tuple and out:  # a packed sequence is a tuple of another type
            return (self(module, args, out[0]), *out[1:])
        if not isinstance(out, Tensor):
            raise UsageError(
                f"{self.technique} acts on tensors, but {type(module).__name__} returns {type(out).__name__}. Choose"
                " other modules with on=."
            )
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            raise UsageError(
                f"{self.technique} cannot act inside activation checkpointing: the mask of the second forward pass"
                " would differ. Choose other modules with on=."
            )
        dropped = self.passed(module, args, out)
        self.clock.add_(self.tick)
        return dropped
