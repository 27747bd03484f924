"""Channel lasso: whole units of a network become exactly zero, in all layers that make them."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, Literal

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.techniques.penalties.on_channels import Matrices, OnChannels, channel_prox
from dashpot.techniques.penalties.proximal import Scaling
from dashpot.techniques.penalties.step_rules import demand_known


class ChannelLasso(OnChannels):
    r"""A group lasso whose groups are whole units: all weights, in all layers, that make one hidden unit (its
    rows or filters, bias, and batch norm's scale and shift, tied through residual sums and concatenations). A unit at
    zero can leave the network: :func:`dashpot.shrink` takes it out.

    .. math:: \mathrm{strength} \sum_u f_u \lVert w_u \rVert_2, \qquad
              f_u \propto \frac{\mathrm{cost}_u}{\sqrt{|u|}}

    After each step of the optimizer a proximal step with one norm over all tensors of a unit; where the optimizer has a
    step for each weight, as Adam does, in these steps, as :class:`GroupLasso` does. The cost of a unit is what leaves
    with it: its own weights and those that read it. Columns that read a unit are in no group of it, since they are in
    the groups of what they make. Outputs of the network, and units in front of a layer norm, are in none.

    The units are found in the first training pass, from the network's operations (``torch.export``), whatever its
    weights are.

    Args:
        strength: >= 0; 0 is off. Weights are scaled so that it is near :class:`GroupLasso`'s with ``groups="rows"``.
        cost: what leaves with a unit is counted in ``"parameters"`` or in multiply-adds of a sample, ``"macs"``, which
            cost most where images are still large.
        scaling: as for :class:`L1`.
        on: which units: those that some of the selected parameters make, such as ``"name:*self_attn*"`` for the heads
            of an attention; all by default.

    Raises:
        ConflictError: at attach, another proximal step or computed weights; in the first training pass, a network that
            cannot be traced, or has no unit that may leave.
        UsageError: a step without a training pass of the model.

    Example:
        >>> import torch, dashpot
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        >>> x = torch.randn(64, 4)
        >>> with dashpot.penalties.ChannelLasso(strength=0.02).attach(model, optimizer):
        ...     for _ in range(200):
        ...         optimizer.zero_grad(); (model(x)[:, 0] - x[:, 0]).square().mean().backward(); _ = optimizer.step()
        >>> dashpot.shrink(model, x[:2]).model[0].out_features < 32
        True

    Papers: Yuan and Lin, "Model Selection and Estimation in Regression with Grouped Variables", JRSS B 2006; Fang et
    al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (groups by dependency).

    When not to use it: where a size is asked for, use :class:`Compress`, which finds the strength.
    """

    summary = "shrinks all that makes a unit; whole units become zeros and can leave"

    strength: Annotated[float, Range(0.0, math.inf, search=(1e-6, 1e-1), log=True, off=0.0)] = field(
        default=1e-4, kw_only=False
    )
    cost: Annotated[Literal["parameters", "macs"], Choice(("parameters", "macs"))] = "parameters"
    scaling: Scaling = "adaptive"

    def check(self, view: ModelView, ctx: Context) -> None:
        super().check(view, ctx)
        if self.scaling == "adaptive":
            demand_known(type(self).__name__, view.optimizer)

    def on_step(self, params: Params, ctx: Context) -> None:
        if not self.strength:
            return
        channels = self.channels(ctx)
        now = Matrices(channels, params, ctx.optimizer, self.scaling == "adaptive")
        for bucket, rows, steps in zip(now.buckets, now.rows, now.steps, strict=True):
            factors = channels.factors(self.cost, rows.device)[bucket.units].to(rows.dtype)
            now.put(bucket, channel_prox(rows, steps, self.strength, factors))
