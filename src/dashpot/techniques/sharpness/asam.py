"""ASAM: sharpness-aware minimization in units of each weight's own size."""

from collections.abc import Generator, Sequence
from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.sharded import replicated
from dashpot.core.running.tensors import beside
from dashpot.core.running.view import Params
from dashpot.core.stacks.stack import member_norms
from dashpot.core.technique import Technique
from dashpot.techniques.gradient.clipping import total_norm
from dashpot.techniques.sharpness.sam import IN_ORDER, NO_SCALER, StackedSAM, displaced, each, sam_ascent

PLAIN = "biases"
"""The role of parameters that are not measured by their own size, as in the paper's experiments."""


def in_own_units(
    x: Float[Tensor, "*shape"], w: Float[Tensor, "*shape"], eta: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``(|w| + eta) * x``."""
    return (w.abs() + beside(eta, w)) * x


class StackedASAM(StackedSAM):
    """All members climb together, each weight in its own units."""

    def read(self) -> None:
        super().read()
        self.eta = self.values("eta", 0.0)
        roles = self.stack.view.roles
        self.plain = [roles.get(segment.name) == PLAIN for segment in self.stack.block.segments]

    def ascend(self, grads: list[Tensor], rho: Sequence[float]) -> None:
        weights = [p.detach() for p in self.stack.block.parameters]
        scaled = [
            g if plain else in_own_units(g, w, self.wide(self.eta, g.ndim))
            for g, w, plain in zip(grads, weights, self.plain, strict=True)
        ]
        norm = member_norms(scaled)
        for w, g, plain in zip(weights, scaled, self.plain, strict=True):
            up = g if plain else in_own_units(g, w, self.wide(self.eta, g.ndim))
            w.copy_(sam_ascent(w, up, each(norm, g.ndim), self.wide(rho, g.ndim)))


class ASAM(Technique):
    r"""Adaptive sharpness-aware minimization: SAM whose neighbourhood is measured in units of each weight's own size.

    .. math:: w \leftarrow w - \eta_{lr}\, \nabla
        \mathrm{loss}\Big(w + \rho \frac{T_w^2 \nabla \mathrm{loss}(w)}{\lVert T_w \nabla \mathrm{loss}(w) \rVert_2}
        \Big), \qquad T_w = |w| + \eta

    entry by entry; biases have T = 1. Scaling one layer up and the next one down by the same factor, which changes no
    output of a ReLU network, then changes the neighbourhood alike, so that the sharpness does not change (with η = 0).
    All else is as in :class:`SAM`: two gradients per step, the same masks, statistics left alone, weights put back
    exactly; ``"0.5@from=90%"`` acts in the last tenth only and costs one gradient before.

    Args:
        rho: radius ρ >= 0, in units of the weights' own sizes: about ten times SAM's. 0 is off; 0.5 to 2 is usual.
        eta: η >= 0, added to each size, so that weights near 0 can move.

    Raises:
        ConfigError: a number outside its range.
        ConflictError: attached without ``closure=True``, or another technique with a second gradient.
        UsageError: ``optimizer.step()`` without a closure, as GradScaler calls it.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = model(torch.ones(8, 4)).square().mean()
        ...     loss.backward()
        ...     return loss
        >>> with dashpot.sharpness.ASAM(rho=0.5).attach(model, optimizer, closure=True):
        ...     loss = optimizer.step(closure)

    Paper: Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural
    Networks", ICML 2021.

    When not to use it: where SAM's doubled time is not worth it either; where many weights are exactly zero, which
    move by η only.
    """

    summary = "steps by the worst gradient nearby, relative to weights (two gradients per step)"
    exclusive = ("second gradient",)
    rules = (NO_SCALER, IN_ORDER)
    stacked = StackedASAM
    evaluations = 2

    rho: Annotated[float, Range(0.0, float("inf"), search=(0.1, 3.0), log=True, off=0.0)] = field(
        default=0.5, kw_only=False
    )
    eta: Annotated[float, Range(0.0, float("inf"))] = 0.01

    def asks(self, step: int) -> int:
        return self.evaluations if self.rho else 1

    def on_gradient(self, params: Params, ctx: Context) -> Generator[None, None, None]:
        if not len(params) or self.rho == 0:
            return
        roles, grads = ctx.view.roles, params.grads
        plain = [roles[name] == PLAIN for name in params.names]
        scaled = [
            g if still else in_own_units(g, w, self.eta)
            for g, w, still in zip(grads, params.tensors, plain, strict=True)
        ]
        norm = total_norm(scaled)

        def ascended(w: Tensor, g: Tensor, still: bool, way: int) -> Tensor:
            own = g if still else in_own_units(g, w, self.eta)
            return sam_ascent(w, own, replicated(norm.to(w.device), w), self.rho * way)

        there = (
            ascended(w, g, still, direction(group))
            for (_, w, group), g, still in zip(params, scaled, plain, strict=True)
        )
        with displaced(params, there):
            del grads, scaled  # so that their memory is free while the closure computes new ones
            yield
