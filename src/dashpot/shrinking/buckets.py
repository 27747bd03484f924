"""Buckets: units that are made by the same parameters, as the rows of one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """Of a parameter the places along an axis that make units, one for each unit of a bucket."""

    name: str
    axis: int
    places: Tensor
    _there: dict[torch.device, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def on(self, device: torch.device) -> Tensor:
        """The places, copied to a device once."""
        if device not in self._there:
            self._there[device] = self.places.to(device)
        return self._there[device]


@dataclass(frozen=True)
class Bucket:
    """Units that are made by the same parameters, so that their weights are the rows of one matrix.

    Attributes:
        start: the number of its first unit; the others follow.
        parts: what makes them.
    """

    start: int
    parts: tuple[Part, ...]

    @property
    def units(self) -> slice:
        """Their numbers."""
        return slice(self.start, self.start + len(self.parts[0].places))

    @property
    def names(self) -> frozenset[str]:
        """The parameters."""
        return frozenset(part.name for part in self.parts)

    def rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Of tensors of the parameters' shapes what belongs to each unit, [units, members]."""
        found = []
        for part in self.parts:
            t = tensors[part.name]
            chosen = t.index_select(part.axis, part.on(t.device)).movedim(part.axis, 0)
            found.append(chosen.reshape(len(part.places), -1))
        return torch.cat(found, 1)

    def put(self, tensors: Mapping[str, Tensor], rows: Tensor) -> None:
        """Write what :meth:`rows` gave into the tensors."""
        at = 0
        for part in self.parts:
            t = tensors[part.name]
            lying = t.movedim(part.axis, 0)
            size = lying[0].numel()
            own = rows[:, at : at + size].reshape(-1, *lying.shape[1:]).to(t)
            t.index_copy_(part.axis, part.on(t.device), own.movedim(0, part.axis))
            at += size

    def clear(self, tensors: Mapping[str, Tensor], which: np.ndarray) -> None:
        """Make what belongs to these units zero, bool [units of the bucket], in the tensors that are given."""
        at = np.flatnonzero(which)
        if len(at):
            chosen = torch.from_numpy(at)
            for part in self.parts:
                if (t := tensors.get(part.name)) is not None:
                    t.index_fill_(part.axis, part.places[chosen].to(t.device), 0.0)
