"""The time of a call as a cost of units: measured in networks of several widths, for each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.costs import Cost, Held
from dashpot.shrinking.importance import least_important
from dashpot.shrinking.probes import drawn, of_width
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, own_seconds, rows_like
from dashpot.shrinking.value import mapped

EXACT = 0.05
"""Times are fitted to a share of themselves, and to this share of the full network's where they are small."""


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

    Of each module with weights the time is that of its call, plus a rate for each unit that it reads or makes, which is
    moved through memory, and one for each product of both, which is computed; rates are the non-negative least squares
    of what the module takes in networks of several widths. What is in no such module is linear in the number of units.

    Args:
        model: on the device where it is to be fast.
        channels: its units.
        batch: rows of a call.
        share: of the time of the full network at which it is to be right: a network of that size is cut by its weights
            and timed, and all is stretched so that this one and the full one have their times.
    """
    device = next((p.device for p in model.parameters()), None)
    args, kwargs = mapped(channels.example, lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf)
    given = rows_like(args, kwargs, batch)
    sets = drawn(channels)
    nets = [model, *(of_width(model, channels, there, args, kwargs) for there in sets[1:])]
    whole, parts = latencies([(net, given) for net in nets]), own_seconds([(net, given) for net in nets])
    held: list[Held] = []
    fixed = 0.0
    owners = {name: tensors for name, tensors in _owners(channels).items() if name in parts[0]}
    # Hooks take time of their own, in proportion to what they time.
    scale = [took / max(sum(own.values()), 1e-12) for took, own in zip(whole, parts, strict=True)]
    for name, tensors in owners.items():
        seconds = np.array([k * own.get(name, 0.0) for k, own in zip(scale, parts, strict=True)])
        found, constant = _fitted(seconds, tensors, sets)
        held, fixed = [*held, *found], fixed + constant
    rest = np.array(
        [k * sum(t for n, t in own.items() if n not in owners) for k, own in zip(scale, parts, strict=True)]
    )
    found, constant = _fitted(rest, [Held(1.0, 1, (np.arange(channels.count),))], sets)
    cost = Cost((*held, *found), fixed + constant, channels.count)
    return _stretched(cost, model, channels, share * cost.size(sets[0]), given, (args, kwargs))


def times_as_fast(whole: nn.Module, model: nn.Module, channels: Channels, there: np.ndarray, batch: int) -> float:
    """How many times as fast as ``whole`` the network is that these units of ``model`` make, measured side by side."""
    device = next((p.device for p in model.parameters()), None)
    args, kwargs = mapped(channels.example, lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf)
    given = rows_like(args, kwargs, batch)
    old, new = latencies([(whole, given), (of_width(model, channels, there, args, kwargs), given)])
    return old / new


def _fitted(seconds: np.ndarray, tensors: Sequence[Held], sets: Sequence[np.ndarray]) -> tuple[list[Held], float]:
    """What a module takes, [networks], as rates of its tensors and what it takes without units.

    Args:
        sets: the units of each network, all of them in the first.
    """
    from scipy.optimize import nnls  # not before it is needed

    axes = {axis.tobytes(): axis for tensor in tensors for axis in tensor.axes}
    terms = [Held(1.0, 1, (axis,)) for axis in axes.values()]
    terms += [Held(1.0, 1, tensor.axes, tensor.name) for tensor in tensors if len(tensor.axes) > 1]
    counted = np.array([[Cost((term,), 0.0, len(there)).size(there) for term in terms] for there in sets])
    columns = np.column_stack([np.ones(len(sets)), counted / np.maximum(counted[0], 1.0)])
    exact = 1 / (seconds + EXACT * max(float(seconds[0]), 1e-12))
    rates, _ = nnls(columns * exact[:, None], seconds * exact)
    found = [replace(term, rate=float(r / n)) for term, r, n in zip(terms, rates[1:], counted[0], strict=True) if r]
    return found, float(rates[0])


def _stretched(cost: Cost, model: nn.Module, channels: Channels, size: float, given: Any, example: Any) -> Cost:
    """Right for the full network and one of that size."""
    there = least_important(model, channels, cost, size)
    every = np.ones(channels.count, bool)
    full, said = cost.size(every), cost.size(there)
    if full - said < 0.05 * full:
        return cost
    old, new = latencies([(model, given), (of_width(model, channels, there, *example), given)])
    slope = (1 - new / old) / (1 - said / full)
    if slope <= 0.1:  # no faster at all: what it takes lies elsewhere
        slope = 0.1
    held = tuple(replace(h, rate=h.rate * slope) for h in cost.held)
    return Cost(held, full - slope * (full - cost.fixed), cost.units)


def _owners(channels: Channels) -> Mapping[str, list[Held]]:
    """The weights with units, by the module that holds them."""
    found: dict[str, list[Held]] = {}
    for tensor in channels.costs["parameters"].held:
        if tensor.axes:
            found.setdefault(tensor.name.rpartition(".")[0], []).append(tensor)
    return found
