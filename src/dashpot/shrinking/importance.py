"""How much units matter by their weights, and what a network can be cut to."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.costs import Cost
from dashpot.shrinking.target import Target

AT_ONCE = 100
"""In how many rounds of equal cost the units go; in each, shares are taken anew."""


def demand_possible(target: Target, channels: Channels, asked: str, name: str) -> None:
    """Refuse a size below that with one unit in each layer.

    Args:
        asked: the argument, as text.
        name: of the network.

    Raises:
        ConflictError: it is below.
    """
    full = channels.costs[target.measure].size(np.ones(channels.count, bool))
    least, size = channels.smallest(target.measure), target.of(full)
    if size < least and target.measure == "time":
        raise ConflictError(
            f"{asked} cannot be reached: with one unit in each layer {name} would be {full / least:.3g} times as fast"
            f" at batch {target.batch}, by the time that its layers take here. Ask for less, or for a larger batch."
        )
    if size < least:
        raise ConflictError(
            f"{asked} asks for {size:,.0f} {target.measure}, and {name} has {least:,.0f} with one unit in each layer"
            f" that may become smaller. Ask for at least {math.ceil(1000 * least / full) / 1000:g}x {target.measure}."
        )


def least_important(model: nn.Module, channels: Channels, cost: Cost, size: float) -> np.ndarray:
    """The units that stay, bool [units], so that the network costs at most ``size``."""
    tensors = {name: p.detach() for name, p in model.named_parameters()}
    energy, layer = np.zeros(channels.count), np.zeros(channels.count, np.int64)
    for k, bucket in enumerate(channels.buckets):
        energy[bucket.units] = bucket.rows(tensors).double().square().sum(1).cpu().numpy()
        layer[bucket.units] = k
    energy = energy + 1e-12 * max(float(energy.max(initial=0.0)), 1e-30)
    there = np.ones(channels.count, bool)
    now = full = cost.size(there)
    step = max((full - size) / AT_ONCE, 0.0)
    while now > size:
        left = np.bincount(layer, energy * there, minlength=len(channels.buckets))
        score = np.where(there, energy / left[layer] / np.maximum(cost.leaving(there), 1e-12 * full), np.inf)
        goal, moved = max(size, now - step), False
        for unit in np.argsort(score, kind="stable"):
            if not there[unit]:
                break
            if channels.last(int(unit), there):
                continue
            there[unit], moved = False, True
            now = cost.size(there)
            if now <= goal:
                break
        if not moved:
            break
    return there
