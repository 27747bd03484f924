"""The base of actors: one technique for all members of a chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import proxy

import numpy as np
import torch
from torch import Tensor

from dashpot.core.rng import Draws, derive, stream

if TYPE_CHECKING:
    from dashpot.population.models import StackedModels


AHEAD = 16
"""Steps whose draws are made together."""
T = TypeVar("T")


class Ahead(Generic[T]):
    """What each step draws, made for some steps at once: since draws are functions of the step, one call for many costs
    little more than one for one.

    Args:
        chunk: whose steps.
        make: from steps (uint64) to what each of them draws.
    """

    def __init__(self, chunk: StackedModels, make: Callable[[np.ndarray], Sequence[T]]) -> None:
        self.chunk, self.make = chunk, make
        self.first, self.held = 0, list[T]()

    def now(self) -> T:
        """What the current step draws."""
        step = self.chunk.step
        if not self.first <= step < self.first + len(self.held):
            self.first, self.held = (
                step,
                list(self.make(np.arange(step, step + min(AHEAD, self.chunk.ahead), dtype=np.uint64))),
            )
        return self.held[step - self.first]


class StackedTechnique:
    """One technique, for all members of a chunk.

    Args:
        chunk: the members.
        path: the technique's place in their recipes, which names its random stream.
        techniques: one per member; None where its recipe has none.
    """

    def __init__(self, chunk: StackedModels, path: str, techniques: Sequence[Any]) -> None:
        self.chunk, self.path = proxy(chunk), path  # no cycle: a chunk that is done gives its memory back at once
        self.techniques = list(techniques)
        self.keys = np.array([stream(member.seed, path) for member in chunk.members], dtype=np.uint64)
        self.setup()

    def setup(self) -> None:
        """After construction, and after members have left."""

    def keep(self, rows: Sequence[int]) -> None:
        self.techniques, self.keys = [self.techniques[k] for k in rows], self.keys[list(rows)]
        self.setup()

    def adopt(self, sources: Sequence[tuple[StackedTechnique | None, int]]) -> None:
        """In place k the state of row ``sources[k][1]`` of another actor of the same path, where there is one."""

    def values(self, name: str, off: float) -> list[float]:
        """A field of each member's technique, or the value at which it does nothing."""
        return [off if t is None else float(getattr(t, name)) for t in self.techniques]

    def wide(self, values: Sequence[float] | np.ndarray, ndim: int) -> Tensor:
        """Numbers per member, to be multiplied with [member, ...] of ``ndim`` axes."""
        return torch.as_tensor(values, dtype=torch.float32, device=self.chunk.device).reshape(-1, *[1] * (ndim - 1))

    def draws(self, k: int) -> Draws:
        return Draws(derive(int(self.keys[k]), self.chunk.step, 0, 0))

    def selected(self, k: int) -> list[int]:
        """The positions of the parameters that member k's technique acts on."""
        return [] if self.techniques[k] is None else self.chunk.selected(self.techniques[k].on)

    # --- the points of a step ----------------------------------------------------------------------------------------

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[member, batch, ...] and targets [member, batch, ...]."""
        return x, y

    def on_target(self, y: Tensor) -> Tensor:
        """Targets [member x batch, ...], just before the loss."""
        return y

    def on_loss(self, loss: Tensor, out: Tensor) -> Tensor:
        """Per-sample losses [member x batch, ...] and outputs [member x batch, ...]."""
        return loss

    def on_gradient(self, grads: list[Tensor]) -> Iterator[None] | None:
        """Gradients [member, *shape], changed in place; as an iterator, it asks for them again at each stop."""
        return None

    def on_step(self) -> None:
        """After the update."""
