"""States of a chunk: as it is evaluated, and as it was before an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dashpot.population.weighing import StackedEMA

if TYPE_CHECKING:
    from dashpot.population.models import StackedModels


AGAIN = 64
"""Steps at most that are done again where memory ends: a copy before every epoch would cost as much as a short epoch
itself.
"""


@dataclass
class Saved:
    """The state of a chunk between two epochs."""

    step: int
    epoch: int
    values: Tensor
    buffers: dict[str, Tensor]
    first: Tensor
    second: Tensor
    steps: np.ndarray
    averages: list[tuple[Tensor, dict[str, Tensor]]]

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        averages = [t for average, buffers in self.averages for t in (average, *buffers.values())]
        return [self.values, self.first, self.second, *self.buffers.values(), *averages]

    def holding(self, tensors: list[Tensor]) -> Saved:
        """The same with other tensors, in that order."""
        left = iter(tensors)
        values, first, second = next(left), next(left), next(left)
        buffers = {name: next(left) for name in self.buffers}
        averages = [(next(left), {name: next(left) for name in own}) for _, own in self.averages]
        return Saved(self.step, self.epoch, values, buffers, first, second, self.steps, averages)


class Evaluating:
    """Evaluation mode, with the averaged weights in place where a member keeps them."""

    def __init__(self, chunk: StackedModels) -> None:
        self.chunk = chunk
        self.raw: tuple[Tensor, dict[str, Tensor]] | None = None

    def __enter__(self) -> None:
        block = self.chunk.block
        values, buffers = self.chunk.evaluated()
        if values is not block.values:
            self.raw = block.values.clone(), {name: b.clone() for name, b in block.buffers.items()}
            self._put(values, buffers)
        block.network.eval()

    def __exit__(self, *error: object) -> None:
        if self.raw is not None:
            self._put(*self.raw)
        self.chunk.block.network.train()

    def _put(self, values: Tensor, buffers: dict[str, Tensor]) -> None:
        block = self.chunk.block
        block.values.copy_(values)
        for name, b in buffers.items():
            block.buffers[name].copy_(b)


def saved_from(chunk: StackedModels, room: Saved | None) -> Saved:
    """The state of a chunk, copied into ``room`` where its shapes are the same."""
    block, update = chunk.block, chunk.update
    averages = [(a.average, a.buffers) for a in chunk.actors if isinstance(a, StackedEMA)]
    now = Saved(
        chunk.step, chunk.epoch, block.values, block.buffers, update.first, update.second, update.steps.copy(), averages
    )
    mine = now.tensors()
    old = room.tensors() if room is not None else []
    if [t.shape for t in old] != [t.shape for t in mine]:
        old = [torch.empty_like(t) for t in mine]
    for to, t in zip(old, mine, strict=True):
        to.copy_(t)
    return now.holding(old)


def put_back(chunk: StackedModels, saved: Saved) -> None:
    """The inverse of :func:`saved_from`."""
    chunk.step, chunk.epoch, chunk.update.steps = saved.step, saved.epoch, saved.steps.copy()
    for mine, theirs in (
        (chunk.block.values, saved.values),
        (chunk.update.first, saved.first),
        (chunk.update.second, saved.second),
    ):
        mine.copy_(theirs)
    for name, b in saved.buffers.items():
        chunk.block.buffers[name].copy_(b)
    for actor, (average, buffers) in zip(
        (a for a in chunk.actors if isinstance(a, StackedEMA)), saved.averages, strict=True
    ):
        actor.average, actor.buffers = average.clone(), {name: b.clone() for name, b in buffers.items()}
    chunk.block.network.train()
    chunk._shrink()


def evaluated(chunk: StackedModels) -> tuple[Tensor, dict[str, Tensor]]:
    """See :meth:`dashpot.population.models.StackedModels.evaluated`."""
    values, buffers = chunk.block.values, chunk.block.buffers
    average = _average(chunk)
    if average is None:
        return values, buffers
    if all(t is not None for t in average.techniques):
        chosen, mixed = average.average.clone() if chunk.update.maps else average.average, average.buffers
    else:
        on = torch.tensor([t is not None for t in average.techniques], device=chunk.device)
        chosen = torch.where(on[:, None], average.average, values)
        mixed = {
            name: torch.where(on.reshape(-1, *[1] * (b.ndim - 1)), average.buffers[name], b)
            for name, b in chunk.block.floating().items()
        }
    for k, t in chunk.update.maps:
        segment = chunk.block.segments[t]
        part = slice(segment.start, segment.stop)
        chosen[k, part] *= values[k, part] != 0
    return chosen, {**buffers, **mixed}


def evaluated_row(chunk: StackedModels, k: int) -> dict[str, Tensor]:
    """Row k of :func:`evaluated` by name, copied, without the others."""
    average, block = _average(chunk), chunk.block
    if average is None or average.techniques[k] is None:
        return block.row(block.values, block.buffers, k)
    own = block.row(average.average, {**block.buffers, **average.buffers}, k)
    for t in (t for member, t in chunk.update.maps if member == k):
        own[block.segments[t].name] *= block.parameters[t].detach()[k] != 0
    return own


def _average(chunk: StackedModels) -> StackedEMA | None:
    return next((actor for actor in chunk.actors if isinstance(actor, StackedEMA)), None)
