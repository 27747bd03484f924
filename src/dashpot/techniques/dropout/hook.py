"""The forward hook of techniques that drop activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import UsageError
from dashpot.core.rng import derive, stream


def place_key(key: int, name: str, rank: int) -> int:
    """The random stream of a place: adding a place shifts no other's masks."""
    place = stream(key, name)
    return derive(place, rank) if rank else place


class DropHook:
    """Changes what a module returns in training mode. A class, not a closure, so that it can be compiled.

    Args:
        key: of the place's random stream.
        clock: of the run, :meth:`Context.clock`.
        rate: 0-d, the probability of dropping; at 0 the hook must be the identity.
    """

    technique = ""

    def __init__(self, key: int, clock: Tensor, rate: Tensor) -> None:
        self.key, self.clock, self.rate = key, clock, rate
        self.tick = torch.tensor([0, 1], device="cpu")

    def drop(self, out: Tensor) -> Tensor:
        """What passes."""
        raise NotImplementedError  # each technique says it

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Tensor | None:
        if not module.training:
            return None
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
        dropped = self.drop(out)
        self.clock.add_(self.tick)
        return dropped
