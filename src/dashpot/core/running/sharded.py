"""Models whose parameters lie in shards: FSDP2 and tensor parallelism are followed, FSDP1 is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

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


def whole(t: Tensor) -> Tensor:
    """All values of a tensor that ranks hold in shards, on every rank; any other tensor itself."""
    full_tensor = getattr(t, "full_tensor", None)
    return t if full_tensor is None else full_tensor()


def alike(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The positions of the tensors that torch takes in one call: plain ones, and DTensors of one mesh."""
    found: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        found.setdefault(getattr(t, "device_mesh", None), []).append(i)
    return list(found.values())


def replicated(same: Tensor, t: Tensor) -> Tensor:
    """What all ranks have the same of, as torch takes it beside ``t``: a DTensor beside a DTensor, and in the shards of
    one of its shape.
    """
    mesh = getattr(t, "device_mesh", None)
    if mesh is None or hasattr(same, "device_mesh"):
        return same
    from torch.distributed.tensor import DTensor, Replicate

    found = DTensor.from_local(same, mesh, [Replicate()] * mesh.ndim, run_check=False)
    # Torch writes no whole tensor into shards of unequal length: 3 rows of 4 ranks.
    places = t.placements  # type: ignore[attr-defined]  # a DTensor has them
    cut = same.shape == t.shape and not any(place.is_partial() for place in places)
    return found.redistribute(mesh, places) if cut else found


def split_over(parameters: Iterable[Tensor], sharded: Sequence[Any]) -> Any:
    """The mesh over which tensor parallelism (``parallelize_module``) splits a network; None where it does not."""
    meshes = (getattr(p, "device_mesh", None) for p in parameters)
    return None if sharded else next((mesh for mesh in meshes if mesh is not None), None)


def refuse_shards(what: str, model: nn.Module) -> None:
    """Refuse a model whose weights ranks hold in shards, where all of them are read.

    Raises:
        ConflictError: with the way out.
    """
    name = next((name for name, p in model.named_parameters() if hasattr(p, "device_mesh")), None)
    if name is not None:
        raise ConflictError(
            f"{what} reads whole weights, and {name} is held in shards. Put the whole state dict"
            " (torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True) into a model of"
            " one process."
        )


def refuse_split(parameters: Mapping[str, Tensor], sharded: Sequence[Any], at: Mapping[str, Sequence[Any]]) -> None:
    """Refuse what sees or draws for a part of the network as if it were the whole.

    Raises:
        ConflictError: techniques inside a network that tensor parallelism splits; any that may draw for rows under it
            within FSDP2; any that say that they take no shards.
    """
    name = next((name for name, p in parameters.items() if hasattr(p, "device_mesh")), None)
    if name is None:
        return

    def names(*points: str) -> str:
        return ", ".join(dict.fromkeys(type(t).__name__ for point in points for t, _ in at[point]))

    if not sharded and (inside := names("on_build", "on_model")):
        raise ConflictError(
            f"{inside} acts inside the network, and each rank holds a part of {name} and of what it computes"
            " (parallelize_module). Leave it out, or use DistributedDataParallel or FSDP2."
        )
    both = any(
        p.device_mesh.ndim > 1 and not p.placements[0].is_replicate()  # type: ignore[attr-defined]  # DTensors
        for p in parameters.values()
        if hasattr(p, "device_mesh")
    )
    if sharded and both and (drawn := names("on_build", "on_model", "on_batch", "on_loss")):
        raise ConflictError(
            f"{drawn} may draw for rows, and with FSDP2 around tensor parallelism a session does not know which ranks"
            " have the same. Leave it out, or use one of the two."
        )
    cut = [type(t).__name__ for pairs in at.values() for t, _ in pairs if not t.shards]
    if cut:
        raise ConflictError(
            f"{', '.join(dict.fromkeys(cut))} needs whole weights, and {name} is held in shards. Leave it out, or use"
            " DistributedDataParallel."
        )
