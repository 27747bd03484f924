"""Units: what can only leave a network together, found by joining the labels of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

PINNED = 0
"""The label of what stays, whatever it is: inputs, outputs, and what no rule knows."""


@dataclass
class Units:
    """Labels, which of them are one unit, and which stay for a reason; ``heads``: heads of attention may leave."""

    heads: bool = True
    count: int = 1
    pairs: list[Tensor] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)
    """Why units that no input moves stay although they differ, such as from step to step."""
    axes: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    """Of each (parameter, axis) that was asked for, the label of each index."""

    def of_axis(self, name: str, axis: int, size: int) -> Tensor:
        """The labels of a parameter's axis, new ones the first time."""
        if (name, axis) not in self.axes:
            self.axes[name, axis] = self.fresh(size)
        return self.axes[name, axis]

    def fresh(self, size: int) -> Tensor:
        """New labels, of no parameter's axis."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def join(self, one: Tensor, other: Tensor) -> None:
        """Labels of equal place are one unit."""
        a, b = np.broadcast_arrays(one.numpy(), other.numpy())
        pairs = distinct(torch.from_numpy(np.stack([a.reshape(-1), b.reshape(-1)], axis=1)), dim=0)
        self.pairs.append(pairs[pairs[:, 0] != pairs[:, 1]])

    def pin(self, labels: Tensor, reason: str) -> None:
        """These stay."""
        for label in distinct(labels).tolist():
            if label != PINNED:  # which has a reason of its own
                self.reasons.setdefault(label, reason)

    def components(self) -> np.ndarray:
        """The unit of each label, [labels]: the lowest label of it; ``PINNED`` for all that are joined with it."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        pairs = torch.cat([*self.pairs, torch.empty(0, 2, dtype=torch.long)]).numpy()
        graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(self.count, self.count))
        number, part = connected_components(graph, directed=False)
        lowest = np.full(number, self.count)
        np.minimum.at(lowest, part, np.arange(self.count))
        return np.asarray(lowest[part])

    def why(self, unit: np.ndarray) -> dict[int, str]:
        """For each unit that stays by a reason, the first one given."""
        found: dict[int, str] = {PINNED: self.reasons.get(PINNED, "the network's inputs or outputs have it")}
        for label, reason in self.reasons.items():
            found.setdefault(int(unit[label]), reason)
        return found


def distinct(labels: Tensor, dim: int | None = None) -> Tensor:
    """Each once."""
    return torch.from_numpy(np.unique(labels.numpy(), axis=dim))


def along(label: Tensor) -> list[int]:
    """The axes along which labels differ."""
    return [d for d in range(label.ndim) if label.shape[d] > 1 and bool((label != label.narrow(d, 0, 1)).any())]


def spread(labels: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """Labels [n] of one axis of a shape."""
    return labels.reshape([-1 if d == axis % len(shape) else 1 for d in range(len(shape))]).expand(*shape)
