"""What goes into the model, and what its output is held against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    ``y`` is what the loss is held against, possibly mixed or soft; ``truth`` is the target as it came, so that training
    metrics stay honest and nothing has to be swapped back.

    Attributes:
        x: the input, [batch, ...].
        y: the target for the loss: integer classes [batch, ...], class probabilities [batch, classes, ...] or values.
        truth: the untouched target.
        weight: sample weights [batch], or ``None``.

    Example:
        >>> import torch, dashpot
        >>> y = torch.tensor([0.0, 1.0])
        >>> batch = dashpot.Batch(torch.zeros(2, 3), y, truth=y)
        >>> softer = batch.replace(y=0.9 * batch.y)
        >>> softer.y, softer.truth
        (tensor([0.0000, 0.9000]), tensor([0., 1.]))
    """

    x: Any
    y: Any
    truth: Any
    weight: Tensor | None = None

    def replace(self, **changes: Any) -> Batch:
        """A copy with some fields changed; ``truth`` cannot be."""
        return replace(self, **changes)
