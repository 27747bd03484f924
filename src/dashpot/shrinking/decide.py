"""What leaves: units without an element that varies and is read, but for those that others need."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.shrinking.limits import Grouped, Squares, differs
from dashpot.shrinking.rules.fold import Fold
from dashpot.shrinking.units import PINNED, Units, distinct
from dashpot.shrinking.value import Step, Value

OUTPUT, KEPT_ONE = "it is an output", "a layer keeps at least one unit"
"""Reasons to stay."""


@dataclass
class Analysis:
    """What leaves.

    Attributes:
        kept: of each parameter and buffer that has units, by axis, the places that stay; only where some leave.
        folds: what is added to biases: of each layer's weight the numbers [outputs] (before the cut), with the bias's
            name, or None where it has none yet.
        carried: of each layer that pads, the axis of its inputs, the input that carries the constants of others, and
            the share [inputs] of each other one's weights that is added to its own.
        reasons: why zero units stay, with how many there are.
        units: how many there are that may leave, and how many of them do.
        grouped: of each convolution in groups, of which some leave, for each group that stays its columns that do.
        norms: of each RMS norm's scale of which some leaves, the other eps, and what the scale is multiplied by.
    """

    kept: dict[str, dict[int, Tensor]]
    folds: dict[str, tuple[str | None, Tensor]]
    carried: dict[str, tuple[int, int, Tensor]]
    reasons: dict[str, int]
    units: tuple[int, int]
    grouped: dict[str, Tensor] = field(default_factory=dict)
    norms: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Graph:
    """A network on an example: its steps, all values, and those that are outputs."""

    units: Units = field(default_factory=Units)
    steps: list[Step] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def decide(graph: Graph) -> Analysis:
    """Units without an element that varies and is read; what else must stay for them to leave is found in turn."""
    unit = graph.units.components()
    stays = np.zeros(graph.units.count, dtype=bool)
    for value in graph.values:
        if value.name is None and value.live is not None:
            stays[unit[distinct(value.label[value.varies & value.live]).numpy()]] = True
    varying = stays.copy()
    reasons = graph.units.why(unit)
    named = dict.fromkeys(reasons, True)
    stays[list(named)] = True
    seen = np.zeros(graph.units.count, dtype=bool)
    for value in graph.values:
        if value.name is None:
            seen[unit[distinct(value.label).numpy()]] = True
    for labels in graph.units.axes.values():
        unseen = np.unique(unit[labels.numpy()])
        for label in unseen[~seen[unseen]]:
            stays[label] = True
            reasons.setdefault(int(label), "no value shows it")

    def keep(labels: np.ndarray, reason: str) -> bool:
        """Take units back; whether any were to leave."""
        own = np.unique(unit[labels])
        fresh = own[~stays[own]]
        stays[fresh] = True
        for label in fresh:
            reasons.setdefault(int(label), reason)
        return bool(len(fresh))

    def lasting(labels: Tensor) -> Tensor:
        return torch.from_numpy(stays[unit[labels.numpy()]])

    folds = [step.fold for step in graph.steps if step.fold is not None]
    limits = [limit for step in graph.steps for limit in step.limits]
    for name, count in Counter(limit.weight for limit in limits).items():
        for limit in limits:
            if count > 1 and limit.weight == name:
                keep(limit.labels().numpy(), f"{limit.where} is used more than once")
    changed = True
    while changed:
        changed = False
        for labels in graph.units.axes.values():
            own = unit[labels.numpy()]
            if len(own) and not stays[own].any():
                changed |= keep(labels[:1].numpy(), KEPT_ONE)
        for fold in folds:
            changed |= _unfoldable(fold, folds, unit, stays, keep)
        for limit in limits:
            for labels, reason in limit.back(lasting):
                changed |= keep(labels.numpy(), reason)
        for value in graph.values:
            if value.name is None:
                changed |= _uneven(value, unit, stays, keep)
    found = _found(graph, folds, unit, stays, varying, seen, reasons)
    for limit in limits:
        if isinstance(limit, Grouped) and (places := limit.places(lasting)) is not None:
            found.grouped[limit.weight] = places
        elif isinstance(limit, Squares) and (changes := limit.changed(lasting)) is not None:
            found.norms[limit.weight] = changes
    return found


def _unfoldable(fold: Fold, folds: list[Fold], unit: np.ndarray, stays: np.ndarray, keep: Any) -> bool:
    """Take back what a layer reads as a constant and its bias cannot take."""
    gone = torch.from_numpy(~stays[unit[fold.labels.numpy()]])
    if not bool(gone.any()):
        return False
    lines, live = _lines(fold)
    nonzero = (lines != 0) & live
    uneven = gone & ((differs(lines) | (live != live[:1])) & nonzero.any(0)).any(0)
    changed = False
    if bool(uneven.any()):
        changed |= keep(fold.labels[uneven].numpy(), f"its constant differs by position (read by {fold.where})")
    filled = gone & nonzero.any(0)
    if fold.refuses and bool(filled.any()):
        changed |= keep(fold.labels[filled].numpy(), fold.refuses)
    if fold.padded and bool(filled.any()) and _carrier(fold, stays, unit) is None:
        largest = int((lines[0].abs() * filled).argmax())
        changed |= keep(
            fold.labels[largest : largest + 1].numpy(), f"it carries constants into {fold.where}, which pads"
        )
    if sum(other.weight == fold.weight for other in folds) > 1 and bool(filled.any()):
        changed |= keep(fold.labels[filled].numpy(), f"{fold.where} is used more than once")
    return changed


def _carrier(fold: Fold, stays: np.ndarray, unit: np.ndarray) -> int | None:
    """The input that stays and is the same number everywhere, the largest: zeros are put around it as around those that
    leave.
    """
    lines, _ = _lines(fold)
    varies = fold.source.varies.movedim(fold.axis, -1).reshape(lines.shape)
    lasting = torch.from_numpy(stays[unit[fold.labels.numpy()]])
    able = lasting & ~varies.any(0) & ~differs(lines).any(0) & (lines[0] != 0)
    return int((lines[0].abs() * able).argmax()) if bool(able.any()) else None


def _lines(fold: Fold) -> tuple[Tensor, Tensor]:
    """What a layer reads as [places, units], and where an output depends on it."""
    source = fold.source
    assert source.live is not None
    size = len(fold.labels)
    return (
        source.value.movedim(fold.axis, -1).reshape(-1, size),
        (source.live & ~source.varies).movedim(fold.axis, -1).reshape(-1, size),
    )


def _uneven(value: Value, unit: np.ndarray, stays: np.ndarray, keep: Any) -> bool:
    """Take back what would leave holes: of each axis whole places leave."""
    if value.value.ndim == 0:
        return False
    lasting = torch.from_numpy(stays[unit[value.label.numpy()]])
    if bool(lasting.all()):
        return False
    whole = torch.ones(1, dtype=torch.bool)
    for d in range(lasting.ndim):
        line = lasting.any(dim=[k for k in range(lasting.ndim) if k != d]) if lasting.ndim > 1 else lasting
        whole = whole & line.reshape([-1 if k == d else 1 for k in range(lasting.ndim)])
    holes = whole & ~lasting
    if not bool(holes.any()):
        return False
    return bool(keep(distinct(value.label[holes]).numpy(), "others at its place stay"))


def _found(
    graph: Graph,
    folds: list[Fold],
    unit: np.ndarray,
    stays: np.ndarray,
    varying: np.ndarray,
    seen: np.ndarray,
    reasons: dict[int, str],
) -> Analysis:
    kept: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (name, axis), labels in graph.units.axes.items():
        lasting = torch.from_numpy(stays[unit[labels.numpy()]])
        if not bool(lasting.all()):
            kept[name][axis] = lasting.nonzero()[:, 0]
    added: dict[str, tuple[str | None, Tensor]] = {}
    carried: dict[str, tuple[int, int, Tensor]] = {}
    for fold in folds:
        gone = torch.from_numpy(~stays[unit[fold.labels.numpy()]])
        lines, live = _lines(fold)
        constant = torch.where(live[0] & gone, lines[0], torch.zeros(()).to(lines))
        if not bool((constant != 0).any()):
            continue
        if fold.padded:
            carrier = _carrier(fold, stays, unit)
            assert carrier is not None
            carried[fold.weight] = (fold.inputs, carrier, constant.double() / lines[0, carrier].double())
        else:
            added[fold.weight] = (fold.bias, fold.matrix.double() @ constant.double())
    lost: dict[str, int] = defaultdict(int)
    all_units = {int(u) for labels in graph.units.axes.values() for u in np.unique(unit[labels.numpy()])} - {PINNED}
    told = {int(unit[label]): reason for label, reason in graph.units.told.items()}
    for label in all_units:
        if stays[label] and seen[label] and (label in told or not varying[label]):
            reason = told.get(label, reasons.get(label, OUTPUT))
            if reason != OUTPUT:
                lost[reason] += 1
    leaves = sum(not stays[label] for label in all_units)
    return Analysis(dict(kept), added, carried, dict(lost), (len(all_units), leaves))
