"""Compress: a network of the size that is asked for; by a plan, the units go that matter least for what they cost."""

from __future__ import annotations

import math
import weakref
from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

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
from dashpot.techniques.penalties.in_time import InTime
from dashpot.techniques.penalties.on_channels import BESIDE, TRACED, Matrices, OnChannels, channel_prox
from dashpot.techniques.penalties.step_rules import knows_step
from dashpot.techniques.penalties.target_size import Share, Target, TargetSize
from dashpot.techniques.penalties.way import Way, planned_size

TOLERANCE = 0.05
"""How far below the size asked for a network may come."""
AHEAD, GAIN = 0.1, 5.0
"""The share of the way within which units fade, and how fast that is corrected where the size lags behind the plan."""
LEAST, MOST = 0.01, 0.99
"""Units that would shrink by less than this share of the most are left alone, and none vanishes before it goes."""
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


def squared_effect(
    rows: Float[Tensor, "units members"], scale: float | Float[Tensor, "units members"]
) -> Float[Tensor, " units"]:
    """``sum over a unit's weights of (w * scale)^2``: with the root of the mean squared gradient as scale, twice what
    the loss rises by without them, to second order and with that for the curvature.
    """
    return (rows * scale).square().sum(1)


def normalized(model: nn.Module, channels: Channels) -> np.ndarray:
    """Which units a batch or instance norm scales, bool [units]: by itself, how large their weights are is nothing to
    the network.
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, _NormBase)}
    found = np.zeros(channels.count, bool)
    for bucket in channels.buckets:
        found[bucket.units] = any(name.rpartition(".")[0] in norms for name in bucket.names)
    return found


class Compress(OnChannels):
    r"""Make the network as small as asked for, while it trains: whole units become zero one after the other, by a plan
    for the size; next goes the one that matters least for what it costs.

    .. math:: S(t) = S_\mathrm{full}^{1-t/T}\, S_\mathrm{target}^{t/T}, \qquad
              \mathrm{next} = \arg\min_u \frac{\sum_{w \in u} \hat v_w\, w^2}{\sqrt{\mathrm{cost}_u}}

    T is ``by``, w the weights that make a unit, in all layers (as for :class:`ChannelLasso`), and the cost what leaves
    with it. :math:`\hat v` is the mean squared gradient, of which Adam and its kin keep an average, so that the sum is
    about twice what the loss would rise by; with other optimizers it is 1. A unit at zero stays there. At T the size is
    reached: at most what was asked for, and at least 95 % of it where units are that small.

    Units that a batch norm scales fade before they go: at each step a proximal step, as that of :class:`ChannelLasso`,
    makes such a unit smaller by about the share

    .. math:: r_u = \frac{e^{g_t}}{h} \min\Big(1, \frac{s^{(k)}}{s_u}\Big)^{3/2}, \qquad
              g_{t+1} = g_t + \frac{5}{h} \log \frac{\mathrm{size}_t}{S(t)}

    where s is what is minimized above, :math:`s^{(k)}` that of the last unit that has to go within h = T / 10 steps. It
    goes at a share of 1. Others go at once: if they faded, what stays would become smaller too, and worse.

    ``dashpot.fit`` takes empty units out on the way, so that the rest of the run is faster; in a loop of your own call
    :func:`dashpot.cut` at points of your choice, or :func:`dashpot.shrink` afterwards.

    Args:
        to: the size: ``"20k parameters"``, ``"0.5x parameters"`` (of the full network), ``"0.5x macs"`` or ``"2M
            macs"`` (multiply-adds of one sample), ``"1 MB"`` (of weights and buffers), or ``"2x faster"`` (``"2x faster
            at batch 1"``; else of 64 rows, one thread), for which layers are timed in the first training pass, and the
            network beside the full one at T, where further units go as long as it is too slow (a tenth of it at a time,
            six times at most); ``"1x parameters"`` is off. A network that is at most so large stays as it is.
        by: when it is reached: a share of the run, such as 0.5 or ``"50%"``, or ``"500steps"``; the rest of the run is
            for the small network.
        on: which units: those that some of the selected parameters make, such as ``"name:*self_attn*"`` for the heads
            of an attention; all by default.

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

    Papers: LeCun et al., "Optimal Brain Damage", NeurIPS 1989; Molchanov et al., "Importance Estimation for Neural
    Network Pruning", CVPR 2019 (whole units, squared gradients); Zhu and Gupta, "To Prune, or Not to Prune", 2017 (the
    plan).

    When not to use it: for the shortest runs, in which units are gone before they have learned; a net built that small
    trains faster. On a GPU a step waits until it is known how much units matter.
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
        priced = timed(ctx.model, channels, self._target(), f"Compress(to={self.to!r})")
        if self._target().measure == "time":
            _in_time.begin(ctx, priced.costs["time"].size(np.ones(priced.count, bool)))
        return priced

    def found(self, channels: Channels, ctx: Context) -> None:
        demand_possible(self._target(), channels, f"Compress(to={self.to!r})", type(ctx.model).__name__)

    def unfinished(self, ctx: Context) -> bool:
        return not (ctx.state["reached"] or self.to == type(self).off_values()["to"])

    def on_step(self, params: Params, ctx: Context) -> None:
        if self.to == type(self).off_values()["to"]:
            return
        channels, state = self.channels(ctx), ctx.state
        way = _ways.get(ctx)
        if way is None or way.gone != state["gone"]:
            fading = normalized(ctx.model, channels)
            first, allowed = _in_time.full(ctx) or state.get("full"), state.get("allowed", 1.0)
            way = _ways[ctx] = Way.of(channels, self.to, state["gone"], fading, first, allowed)
            state["full"] = way.full
        if state["reached"] and not state["gone"]:  # nothing is left that would have to stay at zero
            return
        if not state["reached"]:
            self._advance(channels, way, params, ctx)
        tensors = {name: t.detach() for name, t in zip(params.names, params.tensors, strict=True)}
        for bucket in channels.buckets:
            bucket.clear(tensors, ~way.there[bucket.units])

    def _advance(self, channels: Channels, way: Way, params: Params, ctx: Context) -> None:
        """Take out of the way what goes at this step, and let others fade."""
        state, length = ctx.state, self._length(ctx)
        progress = (ctx.step + 1) / length
        _in_time.look(ctx, channels, way, self._target(), progress)
        wanted, end = planned_size(way.full, way.target, progress), progress >= 1 - 1e-9
        fading = way.fading & way.there
        if way.size > wanted or fading.any():
            now = Matrices(channels, params, ctx.optimizer, knows_step(ctx.optimizer), lr=1.0)
            score, order = self._order(channels, way, now)
            share = np.where(fading, self._shares(way, score, order, length, ctx), 0.0)
            due = set(order if end or not fading.any() else order[: way.until(order, wanted)])
            for unit in order:
                if way.size <= wanted:
                    break
                if score[unit] and not (share[unit] >= 1 or end if fading[unit] else unit in due):
                    continue
                if channels.last(unit, way.there):
                    share[unit] = 0.0
                elif way.without(unit) >= (1 - TOLERANCE) * way.target:
                    way.drop(unit)
            if end:
                way.force(channels, order)
            elif way.size > way.target:
                self._fade(now, np.where(way.there, share, 0.0))
        while end and _in_time.late(ctx, channels, way, self._target()):
            now = Matrices(channels, params, ctx.optimizer, knows_step(ctx.optimizer), lr=1.0)
            way.down(channels, self._order(channels, way, now)[1])
        state["gone"] = way.gone
        # What a clock says counts at the end: until then the size is only expected.
        state["reached"] = end if _in_time.full(ctx) is not None else way.size <= way.target

    def _order(self, channels: Channels, way: Way, now: Matrices) -> tuple[np.ndarray, list[int]]:
        """How much each unit matters for its cost, [units], infinity where it may not go; and in what order they go."""
        effect = np.full(channels.count, np.inf)
        for bucket, rows, steps in zip(now.buckets, now.rows, now.steps, strict=True):
            effect[bucket.units] = squared_effect(rows, 1 / steps).double().cpu().numpy()
        cost = way.cost.leaving(way.there)
        # What costs nothing, such as multiply-adds of a layer of none, counts as a little all the same.
        score = effect / np.sqrt(np.maximum(cost, max(1e-3 * float(cost.max()), 1e-12)))
        score = np.where(way.there & np.isfinite(score), score, np.inf)
        return score, [int(u) for u in np.argsort(score, kind="stable") if np.isfinite(score[u])]

    def _shares(self, way: Way, score: np.ndarray, order: list[int], length: int, ctx: Context) -> np.ndarray:
        """By what share of itself each unit would fade in this step, [units]."""
        state, progress = ctx.state, (ctx.step + 1) / length
        horizon = max(1.0, min(AHEAD * length, length - ctx.step))
        next_ones = way.until(order, planned_size(way.full, way.target, progress + horizon / length))
        last = float(score[order[next_ones - 1]]) if next_ones else 0.0
        lagging = math.log(way.size / planned_size(way.full, way.target, progress))
        state["gain"] = min(max(state["gain"] + GAIN / max(1.0, AHEAD * length) * lagging, -5.0), 5.0)
        share: np.ndarray = np.minimum(1.0, last / np.maximum(score, 1e-300)) ** 1.5 * math.exp(state["gain"]) / horizon
        return share

    def _fade(self, now: Matrices, share: np.ndarray) -> None:
        """A proximal step for each of these units, at a share of the strength that would make it zero."""
        for bucket, rows, steps in zip(now.buckets, now.rows, now.steps, strict=True):
            moved = np.flatnonzero(share[bucket.units] > LEAST * share.max())
            if len(moved):
                chosen = torch.from_numpy(moved).to(rows.device)
                own, step = rows[chosen], steps[chosen]
                shrunk = torch.from_numpy(np.minimum(share[bucket.units][moved], MOST)).to(rows)
                factors = shrunk * squared_effect(own, 1 / step).sqrt()
                rows[chosen] = channel_prox(own, step, 1.0, factors)
                now.put(bucket, rows)

    def _target(self) -> Target:
        return Target.parse("Compress.to", self.to)[0]

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
_in_time = InTime()
