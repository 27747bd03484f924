"""The rows that a strength is measured on, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dashpot.core.errors import DataError

CHUNK = 4096
"""Rows at a time."""


def tensors(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Tensors or arrays of one length above 0, as tensors; y float64 becomes float32 only with x.

    Raises:
        DataError: they are not.
    """
    found: list[Tensor] = []
    for name, part in (("x", x), ("y", y)):
        try:
            found.append(part if isinstance(part, Tensor) else torch.as_tensor(part))
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{name} must be a tensor or a numeric array, got {type(part).__name__} ({error})."
            ) from None
    if len({len(part) if part.ndim else 0 for part in found}) > 1 or not found[0].ndim or not len(found[0]):
        raise DataError(f"x and y must have one length above 0, got shapes {[list(part.shape) for part in found]}.")
    return found[0], found[1]


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
