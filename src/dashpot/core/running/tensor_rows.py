"""Rows of a tensor that stays where it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dashpot.core.memory import free_memory
from dashpot.core.running.batch import unit_range

SHARE = 0.5
"""Of an accelerator's free memory that rows may take; of more, batches are moved one by one."""


class TensorRows:
    """Some rows of a tensor, in an order of their own: only what is asked for is copied. A mapped file is then never
    read as a whole.

    Args:
        tensor: [n, ...], on the CPU.
        rows: whole numbers in [0, n).
        device: where what is asked for is wanted.

    Example:
        >>> some = TensorRows(torch.arange(10) * 2, torch.tensor([7, 1, 3]))
        >>> len(some), some[:2], some[torch.tensor([2, 2])]
        (3, tensor([14,  2]), tensor([6, 6]))
    """

    def __init__(self, tensor: Tensor, rows: Any, device: torch.device | str = "cpu") -> None:
        self.tensor, self.rows, self.device = tensor, torch.as_tensor(rows, device="cpu").long(), torch.device(device)
        self.dtype, self.ndim = tensor.dtype, tensor.ndim
        self.shape = torch.Size([len(self.rows), *tensor.shape[1:]])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        rows = self.rows[which] if isinstance(which, slice) else self.rows[which.cpu()]
        return self.tensor.index_select(0, rows).to(self.device)

    def narrowed(self, which: Tensor) -> TensorRows:
        """Some of these rows."""
        return TensorRows(self.tensor, self.rows[which.cpu()], self.device)

    def flatten(self, start: int) -> Tensor:
        """All of them in memory, for a model that takes nothing else."""
        return self[:].flatten(start)

    def on(self, device: torch.device) -> Tensor | TensorRows:
        """For batches on ``device``: on an accelerator all rows, where half of its free memory holds them."""
        if device.type == "cpu":
            return self
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
        if self.tensor[:1].nbytes * len(self) <= SHARE * free:
            return self[:].to(device)
        return TensorRows(self.tensor, self.rows, device)


class UnitRows(TensorRows):
    """Rows of bytes, which come as float32 in [0, 1].

    >>> UnitRows(torch.tensor([[0], [51], [255]], dtype=torch.uint8), [2, 1])[:].flatten()
    tensor([1.0000, 0.2000])
    """

    def __init__(self, tensor: Tensor, rows: Any) -> None:
        super().__init__(tensor, rows)
        self.dtype = torch.float32

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        found: Tensor = unit_range(super().__getitem__(which))
        return found
