"""The tensors of a stack: for evaluation, and saved before an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.population.tensors import Block
from dashpot.population.update import Maps

AGAIN = 64
"""Steps at most that are done again where memory ends: a copy before every epoch would cost as much as a short epoch
itself.
"""


@dataclass
class Saved:
    """The state of a stack between two epochs.

    Attributes:
        steps: of each member's optimizer.
        tensors: copies of all that steps change, in one order.
    """

    step: int
    epoch: int
    steps: np.ndarray
    tensors: list[Tensor]


def copied(tensors: Sequence[Tensor], room: Saved | None) -> list[Tensor]:
    """Copies, in the memory of ``room`` where its shapes are the same."""
    old = room.tensors if room is not None else []
    if [t.shape for t in old] != [t.shape for t in tensors]:
        old = [torch.empty_like(t) for t in tensors]
    for to, t in zip(old, tensors, strict=True):
        to.copy_(t)
    return old


def evaluated(block: Block, averages: Sequence[StackedTechnique], maps: Maps) -> tuple[Tensor, dict[str, Tensor]]:
    """The weights [members, values] and buffers that evaluation sees: averages where a member keeps them, zero where
    its raw weights are kept sparse.
    """
    chosen, buffers = block.values, dict(block.buffers)
    for average in averages:
        values, floating = average.weights()
        has = [t is not None for t in average.techniques]
        if all(has):
            chosen, buffers = values, {**buffers, **floating}
            continue
        on = torch.tensor(has, device=values.device)
        chosen = torch.where(on[:, None], values, chosen)
        for name, b in floating.items():
            buffers[name] = torch.where(on.reshape(-1, *[1] * (b.ndim - 1)), b, buffers[name])
    if averages and maps:
        chosen = chosen.clone()  # averages go on from what they are
        for k, t in maps:
            part = slice(block.segments[t].start, block.segments[t].stop)
            chosen[k, part] *= block.values[k, part] != 0
    return chosen, buffers


def evaluated_row(block: Block, averages: Sequence[StackedTechnique], maps: Maps, k: int) -> dict[str, Tensor]:
    """Row k of :func:`evaluated` by name, copied, without the others."""
    average = next((a for a in averages if a.techniques[k] is not None), None)
    if average is None:
        return block.row(block.values, block.buffers, k)
    values, floating = average.weights()
    own = block.row(values, {**block.buffers, **floating}, k)
    for t in (t for member, t in maps if member == k):
        own[block.segments[t].name] *= block.parameters[t].detach()[k] != 0
    return own


@contextmanager
def evaluation_mode(block: Block, values: Tensor, buffers: Mapping[str, Tensor]) -> Iterator[None]:
    """The network in evaluation mode, with these weights and buffers in place; the raw ones are back afterwards."""
    raw = None
    if values is not block.values:
        raw = block.values.clone(), {name: b.clone() for name, b in block.buffers.items()}
        _put(block, values, buffers)
    block.network.eval()
    try:
        yield
    finally:
        if raw is not None:
            _put(block, *raw)
        block.network.train()


def _put(block: Block, values: Tensor, buffers: Mapping[str, Tensor]) -> None:
    block.values.copy_(values)
    for name, b in buffers.items():
        block.buffers[name].copy_(b)
