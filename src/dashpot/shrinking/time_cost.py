"""The time of a call as a cost of units: measured in a network and in one with half of its units, linear between."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.costs import Cost, Held
from dashpot.shrinking.importance import least_important
from dashpot.shrinking.shrink import Shrunk, shrink_exactly
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, own_seconds, rows_like
from dashpot.shrinking.value import mapped

PROBES = 2
"""How often a network of the size asked for is timed."""


def cut_to(model: nn.Module, channels: Channels, there: np.ndarray, args: Any, kwargs: Any) -> Shrunk:
    """The network that these units make, bool [units], as :func:`dashpot.shrink` gives it; ``model`` stays."""
    emptied = copy.deepcopy(model)
    channels.empty(emptied, ~there)
    return shrink_exactly(emptied, args, kwargs)


def timed(model: nn.Module, channels: Channels, target: Target, asked: str) -> Channels:
    """With the time as a cost, where ``target`` is one.

    Raises:
        ConflictError: in a distributed training.
    """
    if target.measure != "time":
        return channels
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise ConflictError(
            f"{asked} times the layers, and ranks would measure differently and cut different units. Ask for"
            " multiply-adds, such as to='0.5x macs'."
        )
    cost = time_cost(model, channels, target.batch, target.amount)
    return replace(channels, costs={**channels.costs, "time": cost})


def time_cost(model: nn.Module, channels: Channels, batch: int, share: float) -> Cost:
    """Seconds of a call with ``batch`` rows on one thread, by which units are there.

    Of each module with weights the time is that of its call plus a rate for each product of what it reads and makes,
    which two measurements tell: with all units, and with every second one. What is in no such module is linear in the
    number of units.

    Args:
        model: on the device where it is to be fast.
        channels: its units.
        batch: rows of a call.
        share: of the time of the full network at which it is to be right: a network of that size is cut by its weights
            and timed, and all is stretched so that this one and the full one have their times.
    """
    there = np.ones(channels.count, bool)
    for unit in range(0, channels.count, 2):
        if not channels.last(unit, there):
            there[unit] = False
    device = next((p.device for p in model.parameters()), None)
    args, kwargs = mapped(channels.example, lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf)
    half = cut_to(model, channels, there, args, kwargs).model
    given = rows_like(args, kwargs, batch)
    whole = latencies([(model, given), (half, given)])
    parts = [own_seconds(net, given) for net in (model, half)]
    owners = _owners(channels)
    lost, kept = np.ones(channels.count, bool), there
    held: list[Held] = []
    for owner, tensors in owners.items():
        if owner not in parts[0]:
            continue
        count, left = (sum(_values(tensor, units) for tensor in tensors) for units in (lost, kept))
        halved = left / max(count, 1.0)
        if halved > 0.99:
            continue
        rate = min(max(parts[0][owner] - parts[1].get(owner, 0.0), 0.0) / (1 - halved), parts[0][owner])
        held += [Held(rate / count, tensor.rest, tensor.axes, tensor.name) for tensor in tensors]
    rest = [max(0.0, whole[k] - sum(parts[k].get(owner, 0.0) for owner in owners)) for k in (0, 1)]
    halved = float(there.mean()) if channels.count else 1.0
    if halved < 0.99:
        rate = min(max(rest[0] - rest[1], 0.0) / (1 - halved), rest[0])
        held.append(Held(rate / channels.count, 1, (np.arange(channels.count),)))
    cost = Cost(tuple(held), 0.0, channels.count)
    everything = cost.size(lost)
    if everything > whole[0]:  # hooks take time of their own
        scale = whole[0] / everything
        cost = Cost(tuple(Held(h.rate * scale, h.rest, h.axes, h.name) for h in held), 0.0, channels.count)
        everything = whole[0]
    cost = Cost(cost.held, whole[0] - everything, channels.count)
    for _ in range(PROBES):
        cost = _stretched(cost, model, channels, share * cost.size(lost), given, (args, kwargs))
    return cost


def times_as_fast(whole: nn.Module, model: nn.Module, channels: Channels, there: np.ndarray, batch: int) -> float:
    """How many times as fast as ``whole`` the network is that these units of ``model`` make, measured side by side."""
    device = next((p.device for p in model.parameters()), None)
    args, kwargs = mapped(channels.example, lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf)
    given = rows_like(args, kwargs, batch)
    old, new = latencies([(whole, given), (cut_to(model, channels, there, args, kwargs).model, given)])
    return old / new


def _stretched(cost: Cost, model: nn.Module, channels: Channels, size: float, given: Any, example: Any) -> Cost:
    """Right for the full network and one of that size."""
    there = least_important(model, channels, cost, size)
    every = np.ones(channels.count, bool)
    full, said = cost.size(every), cost.size(there)
    if full - said < 0.05 * full:
        return cost
    old, new = latencies([(model, given), (cut_to(model, channels, there, *example).model, given)])
    slope = (1 - new / old) / (1 - said / full)
    if slope <= 0.1:  # no faster at all: what it takes lies elsewhere
        slope = 0.1
    held = tuple(Held(h.rate * slope, h.rest, h.axes, h.name) for h in cost.held)
    return Cost(held, full - slope * (full - cost.fixed), cost.units)


def _owners(channels: Channels) -> Mapping[str, list[Held]]:
    """The weights with units, by the module that holds them."""
    found: dict[str, list[Held]] = {}
    for tensor in channels.costs["parameters"].held:
        if tensor.axes:
            found.setdefault(tensor.name.rpartition(".")[0], []).append(tensor)
    return found


def _values(tensor: Held, there: np.ndarray) -> float:
    return Cost((Held(1.0, tensor.rest, tensor.axes),), 0.0, len(there)).size(there)
