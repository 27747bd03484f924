"""LookSAM: sharpness-aware minimization that looks at the worst point nearby in every k-th step only."""

from collections.abc import Generator, Iterator
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.sharded import replicated
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stack import member_norms
from dashpot.core.technique import State, Technique
from dashpot.techniques.gradient.clipping import total_norm
from dashpot.techniques.sharpness.gsam import member_products, total_product, without_part_along
from dashpot.techniques.sharpness.sam import IN_ORDER, NO_SCALER, StackedSAM, displaced, each, worst_point


def looksam_gradient(
    gradient: Float[Tensor, "*shape"],
    aside: Float[Tensor, "*shape"],
    norm: Float[Tensor, "..."],
    aside_norm: Float[Tensor, "..."],
    alpha: float | Float[Tensor, "..."],
) -> Float[Tensor, "*shape"]:
    """``gradient + alpha * norm / aside_norm * aside``; the gradient itself where ``aside`` vanishes."""
    return gradient + (alpha * norm / (aside_norm + 1e-12)).to(gradient.dtype) * aside


class StackedLookSAM(StackedSAM):
    """Those whose turn it is climb together; the others use what they saw last."""

    def init(self) -> dict[str, Tensor]:
        block = self.stack.block
        return {s.name: torch.zeros_like(p) for s, p in zip(block.segments, block.parameters, strict=True)}

    def on_gradient(self, grads: list[Tensor]) -> Iterator[None] | None:
        step = self.stack.step
        self.due = [0.0 if t is None or t.asks(step) == 1 else t.rho for t in self.techniques]
        if any(self.due):
            return self._climb(grads)
        self._turn(grads)
        return None

    def _climb(self, grads: list[Tensor]) -> Iterator[None]:
        block, plain = self.stack.block, [g.clone() for g in grads]
        start = block.values.clone()
        self.ascend(grads, self.due)
        yield
        block.values.copy_(start)
        product, square = member_products(grads, plain), member_products(plain, plain)
        for (name, aside), top, g in zip(list(self.state.items()), grads, plain, strict=True):
            looked = self.wide([float(rho > 0) for rho in self.due], g.ndim) > 0
            seen = without_part_along(top, g, each(product, g.ndim), each(square, g.ndim))
            self.state[name] = torch.where(looked, seen, aside)
            top.copy_(torch.where(looked, top, g))
        self._turn(grads)

    def _turn(self, grads: list[Tensor]) -> None:
        """The gradients of members that do not look, turned as they were turned when these looked last."""
        kept = list(self.state.values())
        norm, aside_norm = member_norms(grads), member_norms(kept)
        turns = [
            0.0 if t is None or due or not t.rho else t.alpha for t, due in zip(self.techniques, self.due, strict=True)
        ]
        for g, aside in zip(grads, kept, strict=True) if any(turns) else ():
            alpha = self.wide(turns, g.ndim)
            turned = looksam_gradient(g, aside, each(norm, g.ndim), each(aside_norm, g.ndim), alpha)
            g.copy_(torch.where(alpha > 0, turned, g))


class LookSAM(Technique):
    r"""Sharpness-aware minimization that looks at the worst point nearby in every k-th step only, and in between
    turns the plain gradient as it was turned then.

    .. math:: g_v = g_s - \frac{\langle g_s, g \rangle}{\langle g, g \rangle}\, g, \qquad
        w \leftarrow w - \eta \begin{cases} g_s & t \bmod k = 0 \\
        g + \alpha \frac{\lVert g \rVert_2}{\lVert g_v \rVert_2}\, g_v & \text{else} \end{cases}, \qquad
        g_s = \nabla \mathrm{loss}\Big(w + \rho \frac{g}{\lVert g \rVert_2}\Big)

    The part of SAM's gradient that is orthogonal to the plain one changes slowly, so it is kept between looks. It
    costs 1 + 1/k gradients per step in place of SAM's 2. All else is as in :class:`SAM`.

    Args:
        rho: radius ρ >= 0, in the units of the weights' 2-norm. 0 is off.
        every: k >= 1, the optimizer steps from one look to the next; 1 is SAM.
        alpha: α >= 0, how much the plain gradient is turned between looks.

    Raises:
        ConfigError: a number outside its range.
        ConflictError: attached without ``closure=True``, or another technique with a second gradient.
        UsageError: ``optimizer.step()`` without a closure, as GradScaler calls it.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> calls = []
        >>> def closure():
        ...     calls.append(1)
        ...     optimizer.zero_grad()
        ...     loss = model(torch.ones(8, 4)).square().mean()
        ...     loss.backward()
        ...     return loss
        >>> with dashpot.sharpness.LookSAM(rho=0.05, every=5).attach(model, optimizer, closure=True):
        ...     for _ in range(10):
        ...         loss = optimizer.step(closure)
        >>> len(calls)
        12

    Paper: Liu et al., "Towards Efficient and Scalable Sharpness-Aware Minimization", CVPR 2022.

    When not to use it: where memory for one more copy of the weights is short; in short trainings, where a direction
    that is k steps old is another one. SAM in the last part of the run only (``SAM(rho="0.05@from=90%")``) costs less.
    """

    summary = "steps by the worst gradient nearby, found at every k-th step"
    exclusive = ("second gradient",)
    rules = (NO_SCALER, IN_ORDER)
    stacked = StackedLookSAM
    evaluations = 2

    rho: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.5), log=True, off=0.0)] = field(
        default=0.05, kw_only=False
    )
    every: Annotated[int, Range(1, float("inf"), integer=True)] = 5
    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.1, 1.0), log=True)] = 0.7

    def asks(self, step: int) -> int:
        return self.evaluations if self.rho and step % self.every == 0 else 1

    def init(self, view: ModelView, ctx: Context) -> State:
        return {"aside": {}}

    def on_gradient(self, params: Params, ctx: Context) -> Generator[None, None, None]:
        if not len(params) or self.rho == 0:
            return
        aside: dict[str, Tensor] = ctx.state["aside"]
        if self.asks(ctx.step) == 1:
            self._turn([(g, aside[name]) for name, g in zip(params.names, params.grads, strict=True) if name in aside])
            return
        plain = [g.detach().clone() for g in params.grads]
        with displaced(params, worst_point(params, plain, self.rho)):
            yield
        tops = params.grads
        product, square = total_product(tops, plain), total_product(plain, plain)
        for name, top, g in zip(params.names, tops, plain, strict=True):
            aside[name] = without_part_along(top, g, *(replicated(n.to(g.device), g) for n in (product, square)))

    def _turn(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        if not pairs:  # a window that began since the last look
            return
        norm, aside_norm = (total_norm([pair[k] for pair in pairs]) for k in (0, 1))
        for g, aside in pairs:
            own, kept = (replicated(length.to(g.device), g) for length in (norm, aside_norm))
            g.copy_(looksam_gradient(g, aside, own, kept, self.alpha))
