"""The cuts of a training: when it pays that empty units leave, and what became of the network in all."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, ConflictError, UsageError
from dashpot.core.running.nested import moved
from dashpot.core.running.session import Session
from dashpot.core.running.tensors import tensors
from dashpot.shrinking.in_place import joined, spread
from dashpot.shrinking.plan import Plan
from dashpot.shrinking.shrink import Shrunk, shrink_exactly, size_of
from dashpot.shrinking.target import Target
from dashpot.shrinking.timing import latencies, rows_like
from dashpot.shrinking.value import mapped
from dashpot.techniques.penalties.compress import Compress
from dashpot.techniques.penalties.on_channels import OnChannels
from dashpot.training.cutting import called_with, cut, cut_by

SHARE = 0.15
"""A cut on the way takes at least so much of what a pass costs."""
PAYS = 5e9
"""Multiply-adds that the rest of the training saves at least by a cut: about what the cut itself costs. Counted, not
measured, so that another run with the same seed cuts at the same place.
"""
NEAR = 0.9
"""The share of the speed asked for below which a network is told to be too slow."""
PASSES = 3
"""What forward and backward pass cost, in forward passes."""


@dataclass
class Cuts:
    """The cuts of one training.

    Attributes:
        plans: what stayed at each, in turn.
        epochs: after which.
        first: a copy of the network before the first.
        last: how the last came about.
    """

    session: Session
    x: Any
    plans: list[Plan] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    first: nn.Module | None = None
    last: Shrunk | None = None
    _refused: bool = False

    def due(self, rows: int, epochs: float) -> bool:
        """Whether a cut pays, with so many epochs of so many rows to come."""
        for technique, ctx in self.session.attached:
            units = technique.seen(ctx) if isinstance(technique, Compress) else None
            if units is None or self._refused or not ctx.state["gone"]:
                continue
            there = np.ones(units.count, bool)
            costs = [units.costs[measure] for measure in ("macs", "parameters")]
            before = [cost.size(there) for cost in costs]
            there[list(ctx.state["gone"])] = False
            after = [cost.size(there) for cost in costs]
            share = max(1 - new / max(old, 1.0) for old, new in zip(before, after, strict=True))
            saved = max(old - new for old, new in zip(before, after, strict=True))
            enough = share >= SHARE or ctx.state["reached"]
            return enough and PASSES * saved * rows * epochs >= PAYS
        return False

    def make(self, epoch: int) -> bool:
        """Cut now; whether anything left. What cannot leave in place leaves at the end."""
        model = self.session.view.model
        before = copy.deepcopy(model) if self.first is None else None
        try:
            found = cut(self.session)
        except (ConflictError, UsageError):
            self._refused = True
            return False
        if found.layers:
            self._keep(found.plan, epoch, before)
            self.last = found
        return bool(found.layers)

    def end(self, epoch: int) -> None:
        """What is empty still leaves in place, where it can: the weights are the final ones."""
        if any(isinstance(t, Compress) and ctx.state["gone"] for t, ctx in self.session.attached):
            self._refused = False
            self.make(epoch)

    def again(self, saved: list[dict[str, Any]]) -> None:
        """The cuts of a run that is resumed, on the network as it was at first.

        Raises:
            ConfigError: another network.
        """
        model = self.session.view.model
        args, kwargs = called_with(model, self.x)
        for technique, ctx in self.session.attached:
            if isinstance(technique, OnChannels):
                technique.look(ctx, args, kwargs)
        for one in saved:
            before = copy.deepcopy(model) if self.first is None else None
            plan = Plan.from_dict(one["plan"])
            try:
                cut_by(self.session, plan)
            except (ConflictError, RuntimeError, IndexError) as error:
                raise ConfigError(
                    "model", "the one that the checkpoint was made with", type(model).__name__, str(error)
                ) from None
            self._keep(plan, int(one["epoch"]), before)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain JSON."""
        return [{"epoch": e, "plan": plan.to_dict()} for e, plan in zip(self.epochs, self.plans, strict=True)]

    def _keep(self, plan: Plan, epoch: int, before: nn.Module | None) -> None:
        self.first = before if self.first is None else self.first
        self.plans.append(plan)
        self.epochs.append(epoch)

    def compressed(self, model: nn.Module, *, last: bool) -> tuple[nn.Module, Shrunk | None, nn.Module | None]:
        """The small network of a training whose session is closed, how it came about from the one at first, and one of
        that size that does the same.

        Args:
            model: with its final weights.
            last: take out what is empty still.
        """
        plain = self.session.view.model
        device = next(plain.parameters(), torch.empty(0)).device
        made = [(t, ctx) for t, ctx in self.session.attached if isinstance(t, Compress)]
        left = [ctx for _, ctx in made if ctx.state["gone"]]
        if not self.plans and not (last and left):
            return model, None, None
        example = made[0][0].example(made[0][1])
        args, kwargs = called_with(plain, self.x) if example is None else example
        args, kwargs = mapped((args, kwargs), lambda leaf: moved(leaf, device))
        found = shrink_exactly(plain, tuple(args), dict(kwargs)) if last and left else None
        if not self.plans:
            if found is None:
                return model, None, None
            faster = _measured(made[0][0].to, model, found.model, (args, kwargs))
            return found.model, replace(found, faster=faster), model
        assert self.first is not None
        large = self.first
        spread(self.plans, plain, large)
        plans = [*self.plans, found.plan] if found is not None and found.layers else self.plans
        small = found.model if found is not None and found.layers else plain
        whole = self.last if found is None else found
        old, new = tensors(large), tensors(small)
        made_of = {n: (tuple(t.shape), tuple(new[n].shape)) for n, t in old.items() if t.shape != new[n].shape}
        sizes = size_of(large, args, kwargs), size_of(small, args, kwargs)
        shrunk = Shrunk(
            small,
            joined(plans, old, small),
            *sizes,
            made_of,
            whole.stayed if whole is not None else {},
            {},
            max((one.error for one in (self.last, found) if one is not None), default=0.0),
            faster=_measured(made[0][0].to, large, small, (args, kwargs)),
        )
        return (model if small is plain else small), shrunk, large.eval()


def _measured(to: str, large: nn.Module, small: nn.Module, given: Any) -> tuple[float, int] | None:
    target, _ = Target.parse("Compress.to", to)
    if target.measure != "time":
        return None
    rows = rows_like(given[0], given[1], target.batch)
    old, new = latencies([(large, rows), (small, rows)])
    if old / new < NEAR / target.amount:
        warnings.warn(
            f"Compress(to={to!r}) came to {old / new:.3g} times as fast, measured at batch {target.batch}: the rest is"
            " the time of calls, whatever the layers' width, or this machine had other work. Ask for less, or for a"
            " larger batch.",
            stacklevel=2,
        )
    return old / new, target.batch


def cut_tensors(saved: list[dict[str, Any]], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a network of these has after the cuts of a saved run."""
    for one in saved:
        plan = Plan.from_dict(one["plan"])
        own = {name: plan.cut(name, tensor) for name, tensor in own.items()}
    return own


__all__ = ["PASSES", "PAYS", "SHARE", "Cuts", "cut_tensors"]


def smaller(shrunk: Shrunk) -> str:
    """What left, in a line."""
    before, after = shrunk.before, shrunk.after
    sizes = f"{before.parameters:,} -> {after.parameters:,} parameters, {before.macs:,} -> {after.macs:,} macs"
    return f"the network is smaller: {sizes}"
