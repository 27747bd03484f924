"""What leaves only together, or in equal numbers: groups of convolutions and norms, and features of an RMS norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dashpot.shrinking.value import Value

Lasting = Callable[[Tensor], Tensor]
"""Of labels whether their units stay."""
Back = Iterator[tuple[Tensor, str]]
"""Labels of units that must stay, too, and why."""


class Limit(Protocol):
    """What a step asks of the units that leave; ``weight`` is the parameter that can be cut in one way only."""

    weight: str
    where: str

    def labels(self) -> Tensor:
        """Of all units that it is about."""

    def back(self, lasting: Lasting) -> Back:
        """What must stay, given what does."""


@dataclass(frozen=True)
class Grouped:
    """Groups of a convolution: whole ones leave, and all others keep equal numbers of inputs and of outputs.

    Attributes:
        rows: labels [groups, each] of the weight's first axis, outputs (of a transposed convolution inputs).
        columns: labels [groups, each] of its second axis, which is of one group.
    """

    weight: str
    where: str
    rows: Tensor
    columns: Tensor

    def labels(self) -> Tensor:
        return torch.cat([self.rows.reshape(-1), self.columns.reshape(-1)])

    def back(self, lasting: Lasting) -> Back:
        sides = [(labels, lasting(labels)) for labels in (self.rows, self.columns)]
        alive = sides[0][1].any(1) | sides[1][1].any(1)
        for labels, stay in sides:
            want = max(int(stay.sum(1).max()), 1)
            for group in alive.nonzero()[:, 0].tolist():
                missing = want - int(stay[group].sum())
                if missing > 0:
                    yield labels[group][~stay[group]][:missing], f"groups of {self.where} keep equal numbers"

    def places(self, lasting: Lasting) -> Tensor | None:
        """Of each group that stays the columns that do, [groups, each]; None where all do."""
        rows, columns = lasting(self.rows), lasting(self.columns)
        if bool(rows.all()) and bool(columns.all()):
            return None
        return torch.stack([line.nonzero()[:, 0] for line in columns[rows.any(1)]])


@dataclass(frozen=True)
class Whole:
    """Groups of a norm: fewer channels have another mean and variance; what it gives leaves with what it reads.

    Attributes:
        groups, outputs: labels [groups, each] of what it reads and gives.
    """

    weight: str
    where: str
    groups: Tensor
    outputs: Tensor

    def labels(self) -> Tensor:
        return torch.cat([self.groups.reshape(-1), self.outputs.reshape(-1)])

    def back(self, lasting: Lasting) -> Back:
        stay = lasting(self.groups), lasting(self.outputs)
        alive = (stay[0] | stay[1]).any(1, keepdim=True)
        for labels, own in zip((self.groups, self.outputs), stay, strict=True):
            if bool((missing := alive & ~own).any()):
                yield labels[missing], f"others of its group in {self.where} stay"


@dataclass(frozen=True)
class Squares:
    """Features of an RMS norm: without constants, which it reads, it has another eps and another scale.

    ``x / sqrt((sum x² + sum c²) / n + eps)`` over the m features that stay is
    ``sqrt(n / m) x / sqrt(sum x² / m + e)`` with ``e = (sum c² / n + eps) n / m``.
    """

    weight: str
    where: str
    features: Tensor
    outputs: Tensor
    source: Value
    eps: float

    def labels(self) -> Tensor:
        return torch.cat([self.features, self.outputs])

    def _lines(self) -> Tensor:
        return self.source.value.reshape(-1, len(self.features))

    def back(self, lasting: Lasting) -> Back:
        lines = self._lines()
        gone, out = ~lasting(self.features), lasting(self.outputs)
        if bool((gone & out).any()):
            yield self.features[gone & out], f"{self.where} divides its constant by what varies"
        if bool((~gone & ~out).any()):
            yield self.outputs[~gone & ~out], f"it leaves {self.where} with what it is made of"
        uneven = gone & differs(lines).any(0)
        if bool(uneven.any()):
            yield self.features[uneven], f"its constant differs by position (read by {self.where})"

    def changed(self, lasting: Lasting) -> tuple[float, float] | None:
        """The other eps, and what the scale is multiplied by; None where all features stay."""
        stay = lasting(self.features)
        if bool(stay.all()):
            return None
        n, m = len(stay), int(stay.sum())
        squares = float(self._lines()[0].double()[~stay].square().sum())
        return (squares / n + self.eps) * n / m, (n / m) ** 0.5


def differs(lines: Tensor) -> Tensor:
    """Where a number is not that of the first place, but for rounding: weights of attention sum to one only so far."""
    return (lines - lines[:1]).abs() > 32 * torch.finfo(lines.dtype).eps * lines[:1].abs()
