"""A model's tensors by name: read, put back, and moved to where others live."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, not copied."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def beside(value: float | Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A strength as a tensor where ``like`` lives, in its type or another: a number is filled in there, as a copy from
    the CPU would wait for a GPU.
    """
    if isinstance(value, Tensor):
        return value.to(device=like.device, dtype=dtype or like.dtype)
    return torch.full((), value, dtype=dtype or like.dtype, device=like.device)


@torch.no_grad()
def put(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy ``values`` into the tensors of those names, in place."""
    for name, value in values.items():
        into[name].copy_(value)


def adopt(old: Any, new: Any) -> Any:
    """``new`` with its tensors where those of ``old`` live."""
    if isinstance(new, Tensor):
        return (
            new.detach().clone().to(device=old.device, dtype=old.dtype)
            if isinstance(old, Tensor)
            else new.detach().clone()
        )
    if isinstance(new, Mapping):
        return {key: adopt(old.get(key) if isinstance(old, Mapping) else None, value) for key, value in new.items()}
    return copy.deepcopy(new)
