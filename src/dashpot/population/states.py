"""States of a chunk: as it is evaluated, and as it was before an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dashpot.population.weighing import EMAActor

if TYPE_CHECKING:
    from dashpot.population.chunk import Chunk


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

    def __init__(self, chunk: Chunk) -> None:
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


def saved_from(chunk: Chunk, room: Saved | None) -> Saved:
    """The state of a chunk, copied into ``room`` where its shapes are the same."""
    block, update = chunk.block, chunk.update
    averages = [(a.average, a.buffers) for a in chunk.actors if isinstance(a, EMAActor)]
    now = Saved(chunk.step, chunk.epoch, block.values, block.buffers, update.first, update.second, update.steps.copy(), averages)
    mine = now.tensors()
    old = room.tensors() if room is not None else []
    if [t.shape for t in old] != [t.shape for t in mine]:
        old = [torch.empty_like(t) for t in mine]
    for to, t in zip(old, mine, strict=True):
        to.copy_(t)
    return now.holding(old)


def put_back(chunk: Chunk, saved: Saved) -> None:
    """The inverse of :func:`saved_from`."""
    chunk.step, chunk.epoch, chunk.update.steps = saved.step, saved.epoch, saved.steps.copy()
    for mine, theirs in ((chunk.block.values, saved.values), (chunk.update.first, saved.first), (chunk.update.second, saved.second)):
        mine.copy_(theirs)
    for name, b in saved.buffers.items():
        chunk.block.buffers[name].copy_(b)
    for actor, (average, buffers) in zip((a for a in chunk.actors if isinstance(a, EMAActor)), saved.averages, strict=True):
        actor.average, actor.buffers = average.clone(), {name: b.clone() for name, b in buffers.items()}
    chunk.block.network.train()
    chunk._shrink()


def evaluated(chunk: Chunk, only: int | None) -> tuple[Tensor, dict[str, Tensor]]:
    """See :meth:`dashpot.population.chunk.Chunk.evaluated`."""
    values, buffers = chunk.block.values, chunk.block.buffers
    average = next((actor for actor in chunk.actors if isinstance(actor, EMAActor)), None)
    if average is None:
        return values, buffers
    if only is not None and (average.techniques[only] is None or not any(k == only for k, _ in chunk.update.maps)):
        return (values, buffers) if average.techniques[only] is None else (average.average, {**buffers, **average.buffers})
    on = torch.tensor([t is not None for t in average.techniques], device=chunk.device)
    chosen = torch.where(on[:, None], average.average, values)
    for k, t in chunk.update.maps:
        segment = chunk.block.segments[t]
        part = slice(segment.start, segment.stop)
        chosen[k, part] *= values[k, part] != 0
    mixed = {name: torch.where(on.reshape(-1, *[1] * (b.ndim - 1)), average.buffers[name], b) for name, b in chunk.block.floating().items()}
    return chosen, {**buffers, **mixed}
