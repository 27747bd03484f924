"""Compress: a network of the size that is asked for, by a group lasso whose strength is steered."""

from __future__ import annotations

import math
import weakref
from dataclasses import field
from typing import Annotated

import numpy as np
import torch

from dashpot.core.errors import ConflictError
from dashpot.core.fields.schedule import Moment
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State
from dashpot.shrinking.channels import Channels
from dashpot.shrinking.importance import demand_possible
from dashpot.shrinking.time_cost import timed
from dashpot.techniques.penalties.decay import OF_COMPUTED
from dashpot.techniques.penalties.on_channels import (
    BESIDE,
    TRACED,
    Matrices,
    OnChannels,
    channel_prox,
    vanishing_strength,
)
from dashpot.techniques.penalties.step_rules import knows_step
from dashpot.techniques.penalties.target_size import Share, Target, TargetSize
from dashpot.techniques.penalties.way import Way, planned_size

TOLERANCE = 0.05
"""How far below the size asked for a network may come."""
AHEAD, GAIN = 0.1, 5.0
"""The share of the way within which the strength would make the plan's next units zero by itself, and how fast it is
corrected where the size lags behind the plan.
"""
LEAST = 0.01
"""Units that feel less of the strength than this share are left as they are."""
JUDGED = Rule(
    "best-weights-of-the-size",
    "a technique that keeps the best weights, such as EarlyStopping",
    "the best epoch may be one in which the network was still large.",
    "handled",
    "epochs are judged from the one on in which the size is reached.",
)
SNAPSHOTS = Rule(
    "snapshots-of-one-size",
    "Snapshots",
    "networks of earlier cycles are larger than the final one.",
    "refused",
    "keep one of them.",
)


class Compress(OnChannels):
    r"""Make the network as small as asked for, while it trains: units leave one after the other, by a group lasso on
    whole channels (:class:`ChannelLasso`) whose strength is steered so that the size follows a plan.

    .. math:: S(t) = S_\mathrm{full}^{1-t/T}\, S_\mathrm{target}^{t/T}, \qquad
              \lambda_t = e^{g_t}\, \frac{\lambda^{(k)}}{h}, \qquad
              g_{t+1} = g_t + \frac{5}{h} \log \frac{\mathrm{size}_t}{S(t)}

    T is ``by``, h = T / 10 steps, and :math:`\lambda^{(k)}` the strength that would make so many units zero at once
    that the size is that of the plan h steps ahead. Units that go later feel less of it: one that would be zero at
    :math:`\lambda_u` feels the share :math:`\min(1, \lambda^{(k)} / \lambda_u)^2`, as in an adaptive lasso, so that
    what stays is not made smaller. A unit at zero stays there. No unit goes before the plan says so, at T the rest of
    them go, and from then on training continues without penalty. What is left is at most the size asked for, and at
    least 95 % of it where units are that small. ``dashpot.fit`` takes empty units out on the way, so that the rest of
    the run is faster; in a loop of your own call :func:`dashpot.cut` at points of your choice, or
    :func:`dashpot.shrink` afterwards.

    Args:
        to: the size: ``"20k parameters"``, ``"0.5x parameters"`` (of the full network), ``"0.5x macs"`` or ``"2M
            macs"`` (multiply-adds of one sample), ``"1 MB"`` (of weights and buffers), or ``"2x faster"`` (``"2x
            faster at batch 1"``; else of 64 rows, one thread), for which layers are timed in the first training pass;
            ``"1x parameters"`` is off. A network that is at most so large stays as it is.
        by: when it is reached: a share of the run, such as 0.5 or ``"50%"``, or ``"500steps"``; the rest of the run is
            for the small network.

    Raises:
        ConfigError: a size or moment that cannot be read.
        ConflictError: at attach, another proximal step, computed weights, snapshots, or a share of a run whose length
            is not known; in the first training pass, a network that cannot be traced, or that cannot become so small.
        UsageError: a step without a training pass of the model.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(256, 8); y = (x[:, 0] * x[:, 1] > 0).long()
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> result = dashpot.fit(model, (x, y), recipe=dashpot.Compress(to="300 parameters"), epochs=10, progress=False)
        >>> print(result.model)
        Sequential(
          (0): Linear(in_features=8, out_features=27, bias=True)
          (1): ReLU()
          (2): Linear(in_features=27, out_features=2, bias=True)
        )

    Papers: Wen et al., "Learning Structured Sparsity in Deep Neural Networks", NeurIPS 2016; Alvarez and Salzmann,
    "Compression-aware Training of Deep Networks", NeurIPS 2017; Zou, "The Adaptive Lasso", JASA 2006; Zhu
    and Gupta, "To Prune, or Not to Prune", 2017 (the plan).

    When not to use it: for runs of a hundred steps or so, in which units are gone before they have learned; a net built
    that small trains faster. On a GPU each step waits until it is known how near to zero units are.
    """

    summary = "makes units exactly zero until the network has the size asked for"
    exclusive = (*OnChannels.exclusive, "snapshots")
    rules = (OF_COMPUTED, TRACED, BESIDE, JUDGED, SNAPSHOTS)

    to: Annotated[str, TargetSize(off="1x parameters")] = field(default="0.5x parameters", kw_only=False)
    by: Annotated[str | float, Share()] = "50%"  # kept as text

    def claims(self, view: ModelView) -> list[tuple[str, str]]:
        return [*((self.exclusive[0], name) for name in view.parameters), ("snapshots", "")]

    def check(self, view: ModelView, ctx: Context) -> None:
        super().check(view, ctx)
        self._length(ctx)

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"gone": [], "gain": 0.0, "reached": False, "full": 0.0}

    def follow(self, ctx: Context, channels: Channels, left: np.ndarray) -> None:
        super().follow(ctx, channels, left)
        number = np.cumsum(~left) - 1
        ctx.state["gone"] = [int(number[unit]) for unit in ctx.state["gone"] if not left[unit]]
        _ways.pop(ctx, None)

    def priced(self, channels: Channels, ctx: Context) -> Channels:
        return timed(ctx.model, channels, Target.parse("Compress.to", self.to)[0], f"Compress(to={self.to!r})")

    def found(self, channels: Channels, ctx: Context) -> None:
        target, _ = Target.parse("Compress.to", self.to)
        demand_possible(target, channels, f"Compress(to={self.to!r})", type(ctx.model).__name__)

    def unfinished(self, ctx: Context) -> bool:
        return not (ctx.state["reached"] or self.to == type(self).off_values()["to"])

    def on_step(self, params: Params, ctx: Context) -> None:
        if self.to == type(self).off_values()["to"]:
            return
        channels, state = self.channels(ctx), ctx.state
        way = _ways.get(ctx)
        if way is None or way.gone != state["gone"]:
            way = _ways[ctx] = Way.of(channels, self.to, state["gone"], state.get("full"))
            state["full"] = way.full
        if state["reached"] and not state["gone"]:  # nothing is left that would have to stay at zero
            return
        now = Matrices(channels, params, ctx.optimizer, knows_step(ctx.optimizer))
        strength, share = 0.0, np.zeros(channels.count)
        if not state["reached"]:
            strength, share = self._steer(channels, way, now, ctx)
        for bucket, rows, steps in zip(now.buckets, now.rows, now.steps, strict=True):
            lost, moved = np.flatnonzero(~way.there[bucket.units]), np.flatnonzero(share[bucket.units] > LEAST)
            if strength and len(moved):
                factors = torch.from_numpy((way.factors * share)[bucket.units][moved]).to(rows)
                chosen = torch.from_numpy(moved).to(rows.device)
                rows[chosen] = channel_prox(rows[chosen], steps[chosen], strength, factors)
            elif not len(lost):
                continue
            rows[torch.from_numpy(lost).to(rows.device)] = 0.0
            now.put(bucket, rows)

    def _steer(self, channels: Channels, way: Way, now: Matrices, ctx: Context) -> tuple[float, np.ndarray]:
        """The strength of this step, and how much of it acts on each unit. What goes now is taken out of the way."""
        state, length = ctx.state, self._length(ctx)
        progress = (ctx.step + 1) / length
        way.refresh(channels)
        vanishing = np.full(channels.count, np.inf)
        for bucket, rows, steps in zip(now.buckets, now.rows, now.steps, strict=True):
            factors = torch.from_numpy(way.factors[bucket.units]).to(rows)
            vanishing[bucket.units] = vanishing_strength(rows, steps, factors).double().cpu().numpy()
        vanishing = np.where(way.there & np.isfinite(vanishing), vanishing, np.inf)
        order = [int(u) for u in np.argsort(vanishing, kind="stable") if np.isfinite(vanishing[u])]
        horizon = max(1.0, min(AHEAD * length, length - ctx.step))
        ahead = planned_size(way.full, way.target, progress + horizon / length)
        next_ones = way.until(order, ahead)
        first = float(vanishing[order[next_ones - 1]]) if next_ones else 0.0
        strength = math.exp(state["gain"]) * first / horizon
        wanted = planned_size(way.full, way.target, progress)
        lagging = math.log(max(way.size, 1.0) / max(wanted, 1.0))
        state["gain"] = min(max(state["gain"] + GAIN / max(1.0, AHEAD * length) * lagging, -5.0), 5.0)
        # The next ones feel all of it, others less the farther they are from leaving: what stays is not made smaller.
        share = np.minimum(1.0, first / np.maximum(vanishing, 1e-300)) ** 2
        end = progress >= 1 - 1e-9
        for unit in order:
            if vanishing[unit] > strength and not end:
                break
            if channels.last(unit, way.there):
                share[unit] = 0.0
            elif way.size > wanted and way.without(unit) >= (1 - TOLERANCE) * way.target:
                way.drop(unit)
            elif not end:
                strength = min(strength, 0.99 * float(vanishing[unit]))
                break
            if end and way.size <= way.target:
                break
        if end:
            way.force(channels, order)
        state["gone"] = way.gone
        state["reached"] = way.size <= way.target
        if state["reached"] or end:
            strength = 0.0
        return strength, np.where(way.there, share, 0.0)

    def _length(self, ctx: Context) -> int:
        """Steps until the size is reached."""
        try:
            found = Moment.parse("Compress.by", self.by).step(ctx.steps, ctx.steps_per_epoch)
        except ConflictError as error:
            raise ConflictError(f"Compress(by={self.by}): {error}") from None
        return max(1, math.ceil(found))

    def describe(self, view: ModelView) -> str:
        return (
            f"{self.summary}: {self.to} by {self.by} of the run"
            if str(self.by).endswith("%")
            else (f"{self.summary}: {self.to} by {self.by}")
        )


_ways: weakref.WeakKeyDictionary[Context, Way] = weakref.WeakKeyDictionary()
