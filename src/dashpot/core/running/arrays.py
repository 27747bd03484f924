"""Arrays and frames of the caller's as tensors."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import DataError

_WIDER = (torch.uint16, torch.uint32, torch.uint64)
"""Types for which torch has hardly any function."""


def as_tensor(name: str, part: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of a tensor, an array, a list, or a frame or series of pandas or polars.

    Args:
        name: of the part, for the message.
        dtype: of floating-point arrays; tensors keep theirs.

    Raises:
        DataError: it does not hold numbers only.

    >>> as_tensor("y", np.array([1, 0, 2], dtype=object)).dtype
    torch.int64
    """
    if isinstance(part, Tensor):
        return part.long() if part.dtype in _WIDER else part
    try:
        array = part.to_numpy() if hasattr(part, "to_numpy") else part
        if isinstance(array, np.ndarray):
            array = _numbers(array) if array.dtype.kind == "O" else array
            array = array if array.flags.writeable else array.copy()  # torch shares its memory
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} must be a tensor or a numeric array, got {type(part).__name__} ({error}). Number text first, with"
            " numpy.unique(values, return_inverse=True)[1], and fill or remove what is missing."
        ) from None
    if tensor.dtype in _WIDER:
        return tensor.long()
    return tensor.to(dtype) if dtype is not None and tensor.dtype in (torch.float32, torch.float64) else tensor


def _numbers(array: np.ndarray) -> np.ndarray:
    """An object array of numbers as whole or floating-point ones."""
    kinds = {type(value) for value in array.reshape(-1)}
    if not all(issubclass(kind, numbers.Real | np.number | np.bool_) for kind in kinds):
        raise TypeError(f"it holds {', '.join(sorted(kind.__name__ for kind in kinds))}")
    whole = all(issubclass(kind, numbers.Integral | np.bool_) for kind in kinds)
    return array.astype(np.int64 if whole else np.float64)
