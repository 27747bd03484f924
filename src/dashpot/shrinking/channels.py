"""Channels: for each unit that may leave a network all that makes it, as one group, and what leaves with it.

Producers only (rows, filters, biases, scales and shifts of batch norm, through residual sums and concatenations): were
the columns that read a unit in its group, too, each weight of a layer would lie in two groups, and a whole layer would
go at once.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConflictError
from dashpot.shrinking.analysis import INPUT, graph_of
from dashpot.shrinking.buckets import Bucket, Part
from dashpot.shrinking.costs import Cost, Measure, costs_of, factors_of
from dashpot.shrinking.decide import Graph
from dashpot.shrinking.likeness import begin_anew, known_by
from dashpot.shrinking.rules.moving import MOVES
from dashpot.shrinking.shrink import shrink_exactly
from dashpot.shrinking.trace import Traced, trace
from dashpot.shrinking.units import PINNED, distinct
from dashpot.shrinking.value import flat

KEPT = 32
"""Networks whose units are remembered: searches train the same one again and again."""
TRIALS = 4
"""How often units that do not leave as expected are left out before the network is refused."""


@dataclass(frozen=True)
class Channels:
    """The units of a network that may leave.

    Attributes:
        buckets: all units, in order.
        layers: units of which one at least stays, by layer.
        costs: by what is measured.
        example: what the network was called with, two rows on the CPU.
    """

    buckets: tuple[Bucket, ...]
    layers: tuple[np.ndarray, ...]
    costs: Mapping[Measure, Cost]
    example: tuple[Any, Any]

    @property
    def count(self) -> int:
        """How many units there are."""
        return self.buckets[-1].units.stop if self.buckets else 0

    @cached_property
    def members(self) -> np.ndarray:
        """The weights that make each unit, [units]."""
        found = np.zeros(self.count, np.int64)
        for bucket in self.buckets:
            found[bucket.units] = self._members[bucket.start]
        return found

    @cached_property
    def _members(self) -> dict[int, int]:
        return {bucket.start: sum(self.sizes[part.name, part.axis] for part in bucket.parts) for bucket in self.buckets}

    sizes: Mapping[tuple[str, int], int]
    _weights: dict[Any, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def factors(self, measure: Measure, device: torch.device) -> Tensor:
        """The weights of all units in a penalty while all are there, copied to a device once."""
        if (measure, device) not in self._weights:
            every = np.ones(self.count, bool)
            found = factors_of(self.members, self.costs[measure].leaving(every))
            self._weights[measure, device] = torch.from_numpy(found).to(device)
        return self._weights[measure, device]

    @cached_property
    def layers_of(self) -> list[list[np.ndarray]]:
        """For each unit the layers that it is in."""
        found: list[list[np.ndarray]] = [[] for _ in range(self.count)]
        for layer in self.layers:
            for unit in np.unique(layer):
                found[unit].append(layer)
        return found

    def last(self, unit: int, there: np.ndarray) -> bool:
        """Whether a layer would be empty without it."""
        return any(not there[layer[layer != unit]].any() for layer in self.layers_of[unit])

    def smallest(self, measure: Measure) -> float:
        """What the network costs with as few units as can be, taken in order."""
        there = np.ones(self.count, bool)
        for unit in range(self.count):
            if not self.last(unit, there):
                there[unit] = False
        return self.costs[measure].size(there)

    def empty(self, model: nn.Module, gone: np.ndarray) -> None:
        """Make all that makes these units zero, bool [units]."""
        tensors = {name: p.detach() for name, p in model.named_parameters()}
        for bucket in self.buckets:
            bucket.clear(tensors, gone[bucket.units])


_known: dict[Any, Channels] = {}


def channels_of(
    model: nn.Module, args: Any, kwargs: Any, trained: Collection[str], chosen: Collection[str] | None = None
) -> Channels:
    """The units of a network that may leave, whatever its weights are.

    Half of them are made empty in a copy, which is shrunk: what does not leave as expected is no unit that may leave.

    Args:
        model: left as it is.
        args, kwargs: what it is called with, two rows.
        trained: the parameters that may become zero; what others make stays.
        chosen: the parameters of which a unit must have some, to be one that may leave; None: any.

    Raises:
        ConflictError: it cannot be traced or shrunk.
    """
    twin = copy.deepcopy(model).cpu().eval()
    key = known_by(twin, (args, kwargs), trained, chosen)
    if key is not None and key in _known:
        return replace(_known[key], example=(args, kwargs))
    found = _found(twin, args, kwargs, trained, chosen)
    if key is not None:
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = replace(found, example=(None, None))
    return found


def _found(
    twin: nn.Module, args: Any, kwargs: Any, trained: Collection[str], chosen: Collection[str] | None
) -> Channels:
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("cpu"):
        begin_anew(twin)
        traced = trace(twin, args, kwargs)
        example = flat((args, kwargs))
        stuck: set[tuple[str, int]] = set()
        for _ in range(TRIALS):
            found = _channels(twin, traced, graph_of(traced, example), (args, kwargs), trained, chosen, stuck)
            more = _stuck(twin, traced, found, args, kwargs)
            if not more:
                return found
            stuck |= more
    names = ", ".join(sorted({name for name, _ in more}))
    raise ConflictError(f"{type(twin).__name__} cannot be shrunk as expected: units of {names} stay where others go.")


def _stuck(twin: nn.Module, traced: Traced, found: Channels, args: Any, kwargs: Any) -> set[tuple[str, int]]:
    """What stays in a copy although all that makes it is zero, as (parameter, axis)."""
    there = np.ones(found.count, bool)
    for unit in range(0, found.count, 2):
        if not found.last(unit, there):
            there[unit] = False
    if there.all():
        return set()
    trial = copy.deepcopy(twin)
    found.empty(trial, ~there)
    tensors = {**dict(trial.named_parameters()), **dict(trial.named_buffers())}
    state = {place: (name, tensors.get(name, old).detach()) for place, (name, old) in traced.state.items()}
    small = shrink_exactly(trial, args, kwargs, traced=replace(traced, state=state))
    stays = set()
    for bucket in found.buckets:
        for part in bucket.parts:
            kept = small.plan.kept.get(part.name, {}).get(part.axis)
            wanted = ~torch.from_numpy(there[bucket.units])
            left = wanted & (torch.isin(part.places, kept) if kept is not None else torch.ones_like(wanted))
            if bool(left.any()):
                stays.add((part.name, part.axis))
    return stays


def _channels(
    twin: nn.Module,
    traced: Traced,
    graph: Graph,
    example: tuple[Any, Any],
    trained: Collection[str],
    chosen: Collection[str] | None,
    stuck: set[tuple[str, int]],
) -> Channels:
    unit = graph.units.components()
    axes = {key: unit[labels.numpy()] for key, labels in graph.units.axes.items() if not key[0].startswith(INPUT)}
    parameters = {name: p for name, p in twin.named_parameters() if name not in traced.shared}
    makers = _makers(graph, axes, parameters, traced.shared)
    outside = {PINNED, *graph.units.why(unit), *_unseen(graph, unit, axes)}
    for key, own in axes.items():
        if key in stuck or (key in makers and key[0] not in trained) or _twice(graph, key[0], axes, makers):
            outside |= {int(u) for u in np.unique(own)}
    by_unit: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for name, axis in makers:
        for place, label in enumerate(axes[name, axis].tolist()):
            if label not in outside:
                by_unit[label].append((name, axis, place))
    # What is made of two axes of one parameter would share weights with others.
    crossed = {
        label
        for label, places in by_unit.items()
        for name, axis, _ in places
        if any((name, d) in makers and d != axis for d in range(parameters[name].ndim))
    }
    alike: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for label, places in by_unit.items():
        if label not in crossed and (chosen is None or any(name in chosen for name, _, _ in places)):
            alike[tuple((name, axis) for name, axis, _ in places)].append(label)
    buckets, number = [], np.full(graph.units.count, -1)
    for makes, labels in alike.items():
        start = int(number.max()) + 1
        number[labels] = np.arange(start, start + len(labels))
        lying = torch.tensor([[place for _, _, place in by_unit[label]] for label in labels])
        parts = tuple(Part(name, axis, lying[:, k]) for k, (name, axis) in enumerate(makes))
        buckets.append(Bucket(start, parts))
    count = int(number.max()) + 1
    ids = {key: np.where(number[own] < 0, count, number[own]) for key, own in axes.items()}
    layers = {tuple(own.tolist()): own for own in ids.values() if len(own) and (own < count).all()}
    sizes = {key: parameters[key[0]].numel() // parameters[key[0]].shape[key[1]] for key in makers}
    costs = costs_of(twin, graph, ids, count, example)
    return Channels(tuple(buckets), tuple(layers.values()), costs, example, sizes)


def _makers(
    graph: Graph, axes: Mapping[tuple[str, int], Any], parameters: Mapping[str, Any], shared: Mapping[str, str]
) -> list[tuple[str, int]]:
    """The (parameter, axis) along which units are made, and not read."""
    reads = {(shared.get(s.fold.weight, s.fold.weight), s.fold.inputs) for s in graph.steps if s.fold is not None}
    return [key for key in axes if key not in reads and key[0] in parameters]


def _twice(graph: Graph, name: str, axes: Mapping[tuple[str, int], Any], makers: Sequence[tuple[str, int]]) -> bool:
    """A matrix that is used more than once, as one that is tied: what it makes in one place it reads in another."""
    if not any(key[0] == name and key not in makers for key in axes):
        return False
    # Moving it, such as taking parts for queries, keys and values, uses nothing yet.
    steps = (step for step in graph.steps if step.operation not in MOVES)
    used = [value for step in steps for value in step.tensors() if value.name == name]
    if len(used) < 2:
        return False
    parts = [distinct(v.index.reshape(-1)) if v.index is not None else torch.arange(v.value.numel()) for v in used]
    return len(distinct(torch.cat(parts))) < sum(map(len, parts))


def _unseen(graph: Graph, unit: np.ndarray, axes: Mapping[tuple[str, int], np.ndarray]) -> set[int]:
    """Units that no value shows."""
    seen = np.zeros(graph.units.count, bool)
    for value in graph.values:
        if value.name is None:
            seen[unit[distinct(value.label).numpy()]] = True
    return {int(u) for own in axes.values() for u in np.unique(own) if not seen[u]}
