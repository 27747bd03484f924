"""``Stack``: many models of one shape that train in lock-step, as techniques get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.fields.select import Where
from dashpot.core.running.view import ModelView

AHEAD = 16
"""Steps whose draws are made together."""
T = TypeVar("T")


@runtime_checkable
class Weights(Protocol):
    """The parameters of all members.

    Attributes:
        network: the stacked network.
        segments: the name and shape of each parameter, in the order of the network.
        values: all parameters, [members, values]; ``parameters`` are views of it.
        parameters: [member, *shape] each, in the order of the network.
        buffers: by name, [member, ...].
    """

    network: nn.Module
    segments: list[Any]
    values: Tensor
    parameters: list[nn.Parameter]
    buffers: dict[str, Tensor]

    def floating(self) -> dict[str, Tensor]:
        """The floating-point buffers, which averages cover too."""


@runtime_checkable
class Stack(Protocol):
    """The members of a stack, as a stacked technique gets them.

    Attributes:
        members: each with its ``seed``, its ``lr`` (at the start) and its rows.
        plan: what all share; ``plan.loss`` gives the loss of each sample.
        block: their parameters and buffers.
        view: one member's network with its roles, as techniques see it alone.
        classes: outputs, where targets are classes.
        targets: ``"classes"``, ``"values"`` or ``"multilabel"``.
        step, epoch: completed.
        steps, steps_per_epoch: the length of the run and of an epoch in optimizer steps.
        ahead: steps from now on whose batches are as large.
        index: the place of each sample of the batch in its member's rows, int64 [member, batch], on the CPU.
        pixels: inputs are images; those that are held as bytes (uint8) become float32 in [0, 1].
    """

    members: list[Any]
    plan: Any
    view: ModelView
    classes: int | None
    targets: str
    device: torch.device
    step: int
    epoch: int
    steps: int
    steps_per_epoch: int
    ahead: int
    index: Tensor
    pixels: bool

    @property
    def block(self) -> Weights: ...

    @property
    def outputs_count(self) -> int:
        """Classes of the outputs."""

    def selected(self, on: Where) -> list[int]:
        """The positions of the parameters that ``on`` selects and that get a gradient."""

    def places(self, on: Where) -> list[str]:
        """The modules that ``on`` selects, by name."""

    def evaluated_row(self, k: int) -> dict[str, Tensor]:
        """A copy of the weights and buffers with which member k is evaluated."""


class Ahead(Generic[T]):
    """What each step draws, made for some steps at once: since draws are functions of the step, one call for many costs
    little more than one for one.

    Args:
        stack: whose steps.
        make: from steps (uint64) to what each of them draws.
        most: steps at once; 1 where a schedule changes what is drawn.
    """

    def __init__(self, stack: Stack, make: Callable[[np.ndarray], Sequence[T]], most: int = AHEAD) -> None:
        self.stack, self.make, self.most = stack, make, most
        self.first, self.held = 0, list[T]()

    def now(self) -> T:
        """What the current step draws."""
        step = self.stack.step
        if not self.first <= step < self.first + len(self.held):
            steps = np.arange(step, step + min(self.most, self.stack.ahead), dtype=np.uint64)
            self.first, self.held = step, list(self.make(steps))
        return self.held[step - self.first]


def member_norms(grads: Sequence[Tensor]) -> Tensor:
    """The 2-norm of each member's gradients [member, *shape] as one vector, [member]."""
    squares = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in grads])
    total: Tensor = torch.linalg.vector_norm(squares, dim=0)
    return total
