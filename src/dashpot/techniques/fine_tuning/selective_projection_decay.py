"""Selective projection decay: pull a layer back towards its start only where the loss would fall that way, too."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, embeddings, weights
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import State, Technique
from dashpot.techniques.fine_tuning.start import begun, begun_without, refuse_none, started, without_head
from dashpot.techniques.penalties.decay import OF_COMPUTED
from dashpot.techniques.penalties.selected import refuse_complex, refuse_computed


def selective_projection(
    w: Float[Tensor, "*shape"],
    start: Float[Tensor, "*shape"],
    distance: Float[Tensor, ""],
    back: Bool[Tensor, ""],
    strength: float | Float[Tensor, ""],
) -> Float[Tensor, "*shape"]:
    """``w`` after an update goes back towards ``start`` by the share ``strength * r`` of its way, at most all of it.

    ``r = max(0, d - distance) / d`` with ``d`` the distance from the start now and ``distance`` that before the update;
    nothing moves where ``back`` is false.
    """
    away = w - start
    now = torch.linalg.vector_norm(away)
    ratio = (now - distance).clamp_min(0) / torch.where(now > 0, now, 1)
    share = (strength * ratio).clamp_max(1) * back
    moved: Tensor = w - share.to(w.dtype) * away
    return moved


class SelectiveProjectionDecay(Technique):
    r"""Pull a weight tensor back towards its start, the weights at attach, in those steps only in which the gradient
    says that the loss falls on the way back.

    .. math:: w \leftarrow w - \min(1, \lambda r)\,(w - w^0) \;\text{ if }\; g^\top (w_- - w^0) > 0, \qquad
        r = \frac{\max(0, \lVert w - w^0 \rVert - \lVert w_- - w^0 \rVert)}{\lVert w - w^0 \rVert}

    with :math:`w_-` before and w after the optimizer's update, for each tensor by itself. So λ = 1 takes back what the
    step added to the distance, and larger ones more. Layers that move away consistently are free to. The weights at
    attach are kept once, in the state of the session. A layer that is put in later is left alone.

    Args:
        strength: λ >= 0; 0 is off, 0.1 to 2 usual. It does not follow the learning rate, as the ratio does already.
        on: which parameters; weights and embeddings by default. The output layer, which is new, is left out where
            ``on`` speaks of roles only.

    Raises:
        ConflictError: at attach, no parameter is selected, a complex one, or weights that are computed from others.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> start = model.weight.detach().clone()
        >>> with dashpot.fine_tuning.SelectiveProjectionDecay(1.0).attach(model, optimizer):
        ...     for _ in range(20):
        ...         optimizer.zero_grad(); model(torch.ones(1, 2)).square().sum().backward(); _ = optimizer.step()
        >>> bool((model.weight != start).all())
        True

    Paper: Tian et al., "Rethinking Weight Decay for Robust Fine-Tuning of Foundation Models", NeurIPS 2024, arXiv
    2411.01713.

    When not to use it: on a network with initial weights. Where every step should be drawn back take :class:`L2SP`.
    """

    summary = "takes back parts of steps away from the start weights"
    exclusive = ("projection to the start",)
    rules = (OF_COMPUTED,)
    order = -10  # before proximal steps, which have the last word on zeros

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights | embeddings

    def acts_on(self, view: ModelView) -> list[str]:
        return without_head(self.on, view)

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("SelectiveProjectionDecay", self.on, view)
        refuse_complex("SelectiveProjectionDecay", self.on, view)
        if not without_head(self.on, view) and view.names(self.on):
            refuse_none(self, view)

    def init(self, view: ModelView, ctx: Context) -> State:
        return begun({name: view.parameters[name] for name in without_head(self.on, view)})

    def forget(self, gone: frozenset[str], ctx: Context) -> None:
        ctx.state = begun_without(ctx.state, gone)

    def on_update(self, params: Params, ctx: Context) -> None:
        before = {}
        chosen = self._chosen(params, ctx)
        ways = dict(zip(params.names, map(direction, params.groups), strict=True))
        for name, w, start in started(chosen, ctx):
            assert w.grad is not None, "only what has a gradient comes here"
            away = w - start
            before[name] = {
                "distance": torch.linalg.vector_norm(away),
                "back": (w.grad * away).sum() * ways[name] > 0,
            }
        ctx.state["before"] = before

    def on_step(self, params: Params, ctx: Context) -> None:
        before = ctx.state.pop("before", {})
        for name, w, start in started(self._chosen(params, ctx), ctx):
            if name in before:
                w.copy_(selective_projection(w, start, **before[name], strength=self.strength))

    def _chosen(self, params: Params, ctx: Context) -> Params:
        own = set(without_head(self.on, ctx.view))
        return params.only([i for i, name in enumerate(params.names) if name in own])

    def describe(self, view: ModelView) -> str:
        return f"{self.summary}: {len(without_head(self.on, view))} tensors"
