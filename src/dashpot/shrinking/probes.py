"""Smaller networks that are made only to be timed: of other widths, whatever they answer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from dashpot.shrinking.channels import Channels
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.shrink import Shrunk, shrink_exactly

PROBES, NARROWEST = 8, 0.1
"""How many there are, and the least share of a layer's units that one has."""


def cut_to(model: nn.Module, channels: Channels, there: np.ndarray, args: Any, kwargs: Any) -> Shrunk:
    """The network that these units make, bool [units], as :func:`dashpot.shrink` gives it; ``model`` stays."""
    emptied = copy.deepcopy(model)
    channels.empty(emptied, ~there)
    return shrink_exactly(emptied, args, kwargs)


def drawn(channels: Channels) -> list[np.ndarray]:
    """All units, and some of them, bool [units]: each layer has a share of its own, so that what a width costs can be
    told for each. The same in every process.
    """
    draw = np.random.default_rng(0)
    found = [np.ones(channels.count, bool)]
    for _ in range(PROBES):
        there = np.ones(channels.count, bool)
        for layer in channels.layers:
            there[layer] = False
        for layer in channels.layers:
            kept = max(1, round(len(layer) * draw.uniform(NARROWEST, 1)))
            there[layer[np.linspace(0, len(layer) - 1, kept).round().astype(int)]] = True
        found.append(there)
    return found


def of_width(model: nn.Module, channels: Channels, there: np.ndarray, args: Any, kwargs: Any) -> nn.Module:
    """A network as wide as these units make it, of numbers that mean nothing: nothing is traced where slices of its
    tensors run as they are.
    """
    ids = np.append(there, True)
    kept: dict[str, dict[int, torch.Tensor]] = {}
    for tensor in channels.costs["bytes"].held:
        for axis, units in zip(tensor.dims, tensor.axes, strict=True):
            kept.setdefault(tensor.name, {})[axis] = torch.from_numpy(np.flatnonzero(ids[units]))
    try:
        small = copy.deepcopy(model).eval()
        Plan(kept).apply(small)
        with torch.no_grad():
            small(*args, **kwargs)
    except (RuntimeError, ValueError, TypeError, IndexError):  # sizes are written into it, or differ by group
        return cut_to(model, channels, there, args, kwargs).model
    return small
