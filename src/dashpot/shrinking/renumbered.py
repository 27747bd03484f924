"""The units of a network after a cut, from those before it: nothing is traced again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.shrinking.buckets import Bucket, Part
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.costs import Cost
from dashpot.shrinking.plan import Plan


def leaving(channels: Channels, plan: Plan) -> np.ndarray:
    """The units that leave by a plan, bool [units].

    Raises:
        ConflictError: of a unit only a part leaves.
    """
    found = np.zeros(channels.count, bool)
    for bucket in channels.buckets:
        gone = [_gone(part, plan) for part in bucket.parts]
        if any(not torch.equal(one, gone[0]) for one in gone[1:]):
            raise ConflictError(f"only a part of the units of {bucket.parts[0].name} can leave in place.")
        found[bucket.units] = gone[0].numpy()
    return found


def renumbered(channels: Channels, plan: Plan, left: np.ndarray, small: Mapping[str, Tensor]) -> Channels:
    """The units that stay, numbered anew in the same order.

    Args:
        left: what :func:`leaving` says.
        small: the parameters after the cut.
    """
    number = np.append(np.cumsum(~left) - 1, int((~left).sum()))
    buckets = []
    for bucket in channels.buckets:
        stays = torch.from_numpy(~left[bucket.units])
        if bool(stays.any()):
            parts = tuple(Part(part.name, part.axis, _places(part, plan)[stays]) for part in bucket.parts)
            buckets.append(Bucket(int(number[bucket.units][stays.numpy()][0]), parts))
    layers = [number[layer[~left[layer]]] for layer in channels.layers]
    gone = np.append(left, False)
    costs = {
        measure: Cost(
            tuple(replace(held, axes=tuple(number[axis[~gone[axis]]] for axis in held.axes)) for held in cost.held),
            cost.fixed,
            int((~left).sum()),
        )
        for measure, cost in channels.costs.items()
    }
    sizes = {key: small[key[0]].numel() // small[key[0]].shape[key[1]] for key in channels.sizes}
    return Channels(tuple(buckets), tuple(layers), costs, channels.example, sizes)


def _gone(part: Part, plan: Plan) -> Tensor:
    if part.axis == 1 and part.name in plan.grouped:
        raise ConflictError(f"units of {part.name}, a transposed convolution in groups, cannot leave in place.")
    kept = plan.kept.get(part.name, {}).get(part.axis)
    return torch.zeros(len(part.places), dtype=torch.bool) if kept is None else ~torch.isin(part.places, kept)


def _places(part: Part, plan: Plan) -> Tensor:
    """Where the units lie after the cut; of those that leave any place."""
    kept = plan.kept.get(part.name, {}).get(part.axis)
    return part.places if kept is None else torch.searchsorted(kept, part.places.contiguous())
