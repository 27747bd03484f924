"""What goes into the model, and what its output is held against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
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


MODALITIES = ("table", "image", "text")
"""What inputs may be, where somebody says it."""


def unit_range(x: Any) -> Any:
    """Pixels as bytes (uint8, 0 to 255) as float32 in [0, 1]; anything else is returned as it is.

    >>> unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return x.float().div_(255) if isinstance(x, Tensor) and x.dtype == torch.uint8 else x


def weights_for(per_sample: Tensor, batch: Batch | None, ignore_index: int | None) -> Tensor | None:
    """The weight of each position of a per-sample loss [batch, ...]: the sample's, and 0 where the target is
    ``ignore_index``; None where all are equal.
    """
    if batch is None or (batch.weight is None and ignore_index is None):
        return None
    weight = torch.ones_like(per_sample)
    if batch.weight is not None:
        weight = weight * batch.weight.to(per_sample).reshape(-1, *[1] * (per_sample.ndim - 1))
    if ignore_index is not None and isinstance(batch.truth, Tensor) and not batch.truth.is_floating_point():
        weight = weight * (batch.truth != ignore_index)
    return weight
