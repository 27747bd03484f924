"""Blends of rows, for techniques that mix samples of many members at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dashpot.core import draws


def can_mix(x: Tensor, y: Tensor) -> bool:
    """Whether :func:`mix_rows` takes these inputs and targets: a compiler is at hand, and they are float32 (targets
    also int64) on the CPU.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and y.dtype in (torch.float32, torch.int64)
        and draws.kernel() is not None
    )


def mix_rows(x: Tensor, order: Tensor, share: Tensor, classes: int = 0) -> Tensor:
    """``share * row + (1 - share) * partner`` for the rows of each member, in C++.

    Args:
        x: float32 rows [member, batch, ...], or with ``classes`` int64 classes [member, batch].
        order: the place of each row's partner in its member's batch, int64 [member, batch].
        share: of the row itself, float32 [member, batch].

    Returns:
        Rows, or class probabilities [member, batch, classes].
    """
    members, batch = x.shape[:2]
    x, order, share = x.contiguous(), order.contiguous(), share.contiguous()
    out = torch.empty(members, batch, classes, dtype=torch.float32, device="cpu") if classes else torch.empty_like(x)
    width = classes or x[0, 0].numel()
    name = "dashpot_mix_classes" if classes else "dashpot_mix"
    pointers = (x.data_ptr(), order.data_ptr(), share.data_ptr(), out.data_ptr())
    getattr(draws.kernel(), name)(members, batch, width, *pointers)
    return out
