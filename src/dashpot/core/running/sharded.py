"""Models whose parameters lie in shards: FSDP2 is followed, FSDP1 is refused."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from dashpot.core.errors import ConflictError


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP2 shards it."""
    made = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    return made is not None and isinstance(module, made)


def refuse_flat(one: Any, model: nn.Module) -> None:
    """Refuse FSDP1.

    Raises:
        ConflictError: the object ``one`` is FSDP1's wrapper around the model, or around what it is a part of; or it is
            the model, and has such a wrapper among its parts.
    """
    made = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if made is None or not (one is model or issubclass(type(one), made)):
        return
    parts = list(one.modules())
    if any(part is model for part in parts) and any(isinstance(part, made) for part in parts):
        raise ConflictError(
            "FullyShardedDataParallel keeps weights in flat parameters, in which a recipe finds no layers, rows or"
            " columns. Use fully_shard (FSDP2) or DistributedDataParallel: first wrap, then make the optimizer, then"
            " attach."
        )
