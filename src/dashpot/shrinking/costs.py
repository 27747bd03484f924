"""What a network costs with some of its units: parameters, multiply-adds or bytes, and what leaves with each unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from dashpot.shrinking.decide import Graph
from dashpot.shrinking.shrink import size_of
from dashpot.shrinking.trace import sharing
from dashpot.shrinking.value import flat

Measure = Literal["parameters", "macs", "bytes", "time"]
MEASURES: tuple[Measure, ...] = ("parameters", "macs", "bytes")
"""What is counted; time is measured (``time_cost.py``)."""


@dataclass(frozen=True)
class Held:
    """A tensor of which units hold parts.

    Attributes:
        rate: what one of its values costs.
        rest: values at each place of the axes below.
        axes: of each axis along which units lie, the unit of each place; the number of units for what always stays.
        name: of the tensor.
        dims: which of its axes they are.
    """

    rate: float
    rest: int
    axes: tuple[np.ndarray, ...]
    name: str = ""
    dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """The cost of a network by which of its units are there.

    Attributes:
        held: all tensors.
        fixed: what is no tensor's.
        units: how many there are.

    Example:
        >>> import numpy as np
        >>> layers = Held(1.0, 1, (np.array([0, 1]), np.array([2, 2, 2]))), Held(1.0, 1, (np.array([0, 1]),))
        >>> cost = Cost(layers, 0.0, 2)
        >>> cost.size(np.array([True, True])), cost.size(np.array([True, False])), cost.leaving(np.array([True, True]))
        (8.0, 4.0, array([4., 4.]))
    """

    held: Sequence[Held]
    fixed: float
    units: int

    def size(self, there: np.ndarray) -> float:
        """What the network costs with these units, bool [units]."""
        counted = np.append(there, True).astype(np.float64)
        total = self.fixed
        for tensor in self.held:
            part = tensor.rate * tensor.rest
            for axis in tensor.axes:
                part *= counted[axis].sum()
            total += part
        return float(total)

    def leaving(self, there: np.ndarray) -> np.ndarray:
        """What leaves with each unit, [units], where the others stay; of one that is not there what would come."""
        counted = np.append(there, True).astype(np.float64)
        found = np.zeros(self.units + 1)
        for tensor in self.held:
            counts = [counted[axis].sum() for axis in tensor.axes]
            for k, axis in enumerate(tensor.axes):
                others = np.prod([count for j, count in enumerate(counts) if j != k])
                found += tensor.rate * tensor.rest * others * np.bincount(axis, minlength=self.units + 1)
        return found[:-1]


def factors_of(members: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """The weight of each unit in a penalty, [units]: what leaves with it, by the root of how many weights make it, so
    that one whose cost is its own weights has the root of their number, as in a group lasso; on average over all
    weights.

    Args:
        members: the weights that make each unit.
        leaving: what leaves with each.
    """
    found: np.ndarray = leaving / np.sqrt(members) * (members.sum() / max(leaving.sum(), 1e-12))
    return found


def costs_of(
    twin: nn.Module, graph: Graph, ids: Mapping[tuple[str, int], np.ndarray], count: int, example: tuple[Any, Any]
) -> dict[Measure, Cost]:
    """What a network costs, by what is counted.

    Args:
        twin: the network, on the CPU.
        ids: of each (parameter, axis) with units the unit of each place; ``count`` for what always stays.
        count: of units.
        example: what it is called with.
    """
    other = sharing(twin)
    parameters = {name: p for name, p in twin.named_parameters() if name not in other}
    tensors = parameters | {name: b for name, b in twin.named_buffers() if name not in other}
    args, kwargs = example
    rows = next(leaf for leaf in flat(example) if isinstance(leaf, Tensor) and leaf.ndim).shape[0]
    places: Counter[str] = Counter()
    for step in graph.steps:
        if step.operation == "linear" or step.operation.startswith("conv"):
            name, x = step.arg(1, "weight").name, step.arg(0, "input").value
            if step.operation.startswith("conv_transpose"):
                places[name] += x.shape[2:].numel()
            elif name is not None:
                axis = 1 if step.operation.startswith("conv") else -1
                places[name] += step.out.numel() // step.out.shape[axis] // rows
    total = size_of(twin, args, kwargs).macs
    rates: dict[Measure, dict[str, float]] = {
        "parameters": dict.fromkeys(parameters, 1.0),
        "macs": {name: float(n) for name, n in places.items() if name in parameters},
        "bytes": {name: float(t.element_size()) for name, t in tensors.items()},
    }
    found: dict[Measure, Cost] = {}
    for measure, rate in rates.items():
        held = [_held(tensors[name], name, r, ids) for name, r in rate.items()]
        cost = Cost(tuple(held), 0.0, count)
        if measure == "macs":
            # Products of values with values have no weights, and are counted as they are.
            cost = replace(cost, fixed=max(0.0, total - cost.size(np.ones(count, bool))))
        found[measure] = cost
    return found


def _held(tensor: Tensor, name: str, rate: float, ids: Mapping[tuple[str, int], np.ndarray]) -> Held:
    axes = [d for d in range(tensor.ndim) if (name, d) in ids]
    rest = int(np.prod([tensor.shape[d] for d in range(tensor.ndim) if d not in axes]))
    return Held(rate, rest, tuple(ids[name, d] for d in axes), name, tuple(axes))
