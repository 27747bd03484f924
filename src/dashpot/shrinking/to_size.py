"""``shrink_to``: a network of a size that is asked for, without training: its least important units leave."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.channels import Channels, channels_of
from dashpot.shrinking.importance import demand_possible, least_important
from dashpot.shrinking.probes import cut_to
from dashpot.shrinking.shrink import Shrunk, example_arguments
from dashpot.shrinking.target import Target
from dashpot.shrinking.time_cost import time_cost
from dashpot.shrinking.timing import latencies, rows_like
from dashpot.shrinking.value import flat, mapped

TRIES, NEAR = 12, 0.05
"""How often a network is made and timed until it is as fast as asked for, and how much faster it may be."""


def shrink_to(model: nn.Module, example_inputs: Any, to: str) -> Shrunk:
    """A smaller network of the size asked for, without training: the units that matter least by their weights leave.

    A unit's importance is its share of the magnitude of its layer: the sum of squares of all that makes it (row or
    filter, bias, scale and shift) by that of the units of its layer that are left. Those leave first that lose the
    least share for the most that leaves with them. **Outputs change**, by how much on the example
    ``Shrunk.changed`` says; what it does to the accuracy nobody knows before it is measured. Train further
    (:class:`~dashpot.Compress` in :func:`dashpot.fit`, ``dashpot shrink RUN --to``) wherever there are data.

    ``"2x faster"`` is measured here: the layers are timed, units weighed by what they take, and the network that comes
    out is timed beside the old one until the ratio is reached.

    Args:
        model: a trained network; it is not changed.
        example_inputs: as of :func:`dashpot.shrink`.
        to: ``"20k parameters"``, ``"0.5x macs"``, ``"1 MB"``, ``"2x faster"`` (of 64 rows, one thread) or ``"2x faster
            at batch 1"``.

    Raises:
        ConfigError: a size that cannot be read.
        ConflictError: as of :func:`dashpot.shrink`, or a size that the network cannot have.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> small = dashpot.shrink_to(model, torch.randn(2, 8), "0.25x parameters")
        >>> small.before.parameters, small.after.parameters, small.model[0].out_features
        (706, 167, 15)

    When not to use it: to prune far without training further, after which little of the accuracy is left.
    """
    target, said = Target.parse("to", to)
    args, kwargs = example_arguments(model, example_inputs)
    own, named = mapped(rows_like(args, kwargs, 2), lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf)
    channels = channels_of(model, own, named, [name for name, _ in model.named_parameters()])
    if not channels.count:
        raise ConflictError(
            f"{type(model).__name__} has no units that may leave: all of them are outputs, or stand in front of a"
            " layer norm."
        )
    if target.measure == "time":
        small = _faster(model, channels, target, said, args, kwargs)
    else:
        demand_possible(target, channels, f"to={said!r}", type(model).__name__)
        cost = channels.costs[target.measure]
        there = least_important(model, channels, cost, target.of(cost.size(np.ones(channels.count, bool))))
        small = cut_to(model, channels, there, args, kwargs)
    return dataclasses.replace(small, changed=moved_outputs(model, small.model, args, kwargs))


def _faster(model: nn.Module, channels: Channels, target: Target, said: str, args: Any, kwargs: Any) -> Shrunk:
    """The largest network that is found to be so much faster."""
    cost = time_cost(model, channels, target.batch, target.amount)
    given = rows_like(args, kwargs, target.batch)
    full, wanted = cost.size(np.ones(channels.count, bool)), 1 / target.amount
    low, high, goal = 0.0, full, full * target.amount
    best: Shrunk | None = None
    fastest = 1.0
    for _ in range(TRIES):
        small = cut_to(model, channels, least_important(model, channels, cost, goal), args, kwargs)
        old, new = latencies([(model, given), (small.model, given)])
        ratio = old / new
        fastest = max(fastest, ratio)
        # By proportion first, then between what was too slow and what was fast enough.
        if ratio >= wanted:
            best, low = dataclasses.replace(small, faster=(ratio, target.batch)), goal
            if ratio <= wanted * (1 + NEAR) or high - low < 0.02 * full:
                break
            goal = min((low + high) / 2, goal * ratio / wanted)
        else:
            high = goal
            if high - low < 0.02 * full and best is not None:
                break
            goal = (low + high) / 2 if best is not None else goal * min(max(ratio / wanted, 0.3), 0.8)
    if best is None:
        raise ConflictError(
            f"to={said!r} cannot be reached: the smallest {type(model).__name__} that was tried is {fastest:.3g} times"
            f" as fast at batch {target.batch}; calls of its layers take the rest of the time. Ask for less, or for a"
            " larger batch ('2x faster at batch 256')."
        )
    return best


@torch.no_grad()
def moved_outputs(model: nn.Module, small: nn.Module, args: Any, kwargs: Any) -> float:
    """The largest difference of outputs on the example, as a share of the largest output."""
    modes = [(module, module.training) for net in (model, small) for module in net.modules()]
    try:
        pairs = [flat(net.eval()(*args, **kwargs)) for net in (model, small)]
    finally:
        for module, mode in modes:
            module.training = mode
    found = 0.0
    for one, other in zip(*pairs, strict=True):
        if isinstance(one, Tensor) and one.numel():
            found = max(found, float((one - other).abs().max() / one.abs().max().clamp(min=1e-30)))
    return found
