"""The parameters of all members in one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dashpot.population.stack import load


@dataclass(frozen=True)
class Segment:
    """Where one parameter lies in each row of the block."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Block:
    """All parameters of a stacked network as one float tensor [members, values], of which the network's parameters are
    views.

    What acts on all weights alike (averages, best weights, removing members) is then one operation.

    Attributes:
        values: [members, values].
        segments: the parameters, in the order of the network.
        buffers: the stacked buffers by name, [members, ...].
    """

    def __init__(self, whole: nn.Module) -> None:
        self.network = whole
        self.segments: list[Segment] = []
        parts, at = [], 0
        for name, p in whole.named_parameters():
            size = p[0].numel()
            self.segments.append(Segment(name, at, at + size, tuple(p.shape[1:])))
            parts.append(p.detach().reshape(len(p), -1))
            at += size
        self.values = torch.cat(parts, dim=1)
        self.buffers = {name: b.clone() for name, b in whole.named_buffers()}
        self._bind()

    def __len__(self) -> int:
        return len(self.values)

    def _bind(self) -> None:
        load(self.network, {**{s.name: self.view(self.values, s) for s in self.segments}, **self.buffers})
        named = dict(self.network.named_parameters())
        self.parameters = [named[s.name] for s in self.segments]

    @staticmethod
    def view(block: Tensor, segment: Segment) -> Tensor:
        """[members, *shape] of a block [members, values]."""
        return block[:, segment.start : segment.stop].view(len(block), *segment.shape)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these members, in this order."""
        index = torch.tensor(rows, device=self.values.device)
        self.values = self.values.index_select(0, index)
        self.buffers = {name: b.index_select(0, index) for name, b in self.buffers.items()}
        self._bind()

    def adopt(self, sources: Sequence[tuple[Block, int]]) -> None:
        """In row k the values and buffers of row ``sources[k][1]`` of another block."""
        for k, (source, row) in enumerate(sources):
            self.values[k] = source.values[row]
            for name, b in self.buffers.items():
                b[k] = source.buffers[name][row]

    def floating(self) -> dict[str, Tensor]:
        """The floating-point buffers, which averages cover too."""
        return {name: b for name, b in self.buffers.items() if b.is_floating_point()}

    def row(self, values: Tensor, buffers: dict[str, Tensor], member: int) -> dict[str, Tensor]:
        """The tensors of one member by name, copied."""
        own = {s.name: values[member, s.start : s.stop].reshape(s.shape).clone() for s in self.segments}
        return own | {name: b[member].clone() for name, b in buffers.items()}
