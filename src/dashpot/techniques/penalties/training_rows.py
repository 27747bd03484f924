"""The rows that a strength is measured on, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dashpot.core.errors import DataError
from dashpot.core.running.arrays import as_tensor
from dashpot.core.running.tensor_rows import TensorRows

CHUNK = 4096
"""Rows at a time."""


def tensors(x: Any, y: Any) -> tuple[Any, Tensor]:
    """Tensors, arrays or frames of one length above 0, as tensors; rows of a tensor that stays where it is
    (:class:`TensorRows`) are left there. Whole numbers in y, of any type, are int64 classes
    [rows].

    Raises:
        DataError: they are not.
    """
    x, y = x if isinstance(x, TensorRows) else as_tensor("x", x), as_tensor("y", y)
    if len({len(part) if part.ndim else 0 for part in (x, y)}) > 1 or not x.ndim or not len(x):
        raise DataError(f"x and y must have one length above 0, got shapes {[list(part.shape) for part in (x, y)]}.")
    if not y.is_floating_point():
        y = (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y).long()
    return x, y


def collected(data: Any) -> tuple[Tensor, Tensor, Any]:
    """All inputs, targets and weights (or None) of ``(x, y)``, ``(x, y, weight)``, a Dataset or a DataLoader.

    Raises:
        DataError: something else, or no rows.
    """
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=CHUNK)
    if isinstance(data, DataLoader):
        batches = list(data)
        if not batches:
            raise DataError("the data are empty: the loader gave no batch.")
        weight = torch.cat([batch[2] for batch in batches]) if len(batches[0]) == 3 else None
        return torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches]), weight
    if not isinstance(data, Sequence) or len(data) not in (2, 3):
        raise DataError(f"data must be (x, y), (x, y, weight), a Dataset or a DataLoader, got {type(data).__name__}.")
    return *tensors(data[0], data[1]), data[2] if len(data) == 3 else None
