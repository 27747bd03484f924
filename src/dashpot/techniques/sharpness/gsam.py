"""GSAM: sharpness-aware minimization that also closes the gap between the loss here and at the worst point nearby."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.sharded import replicated, whole
from dashpot.core.running.view import Params
from dashpot.core.technique import Technique
from dashpot.techniques.sharpness.sam import IN_ORDER, NO_SCALER, StackedSAM, displaced, each, worst_point

TINY = 1e-30
"""Keeps 0/0 away where a gradient vanishes."""


def without_part_along(
    x: Float[Tensor, "*shape"],
    axis: Float[Tensor, "*shape"],
    product: Float[Tensor, "..."],
    square: Float[Tensor, "..."],
) -> Float[Tensor, "*shape"]:
    """``x - product / square * axis``: of a vector the part that is orthogonal to an axis, with ``product = <x, axis>``
    and ``square = <axis, axis>`` over all tensors.
    """
    return x - (product / square.clamp(min=TINY)).to(x.dtype) * axis


def gsam_gradient(
    top: Float[Tensor, "*shape"], across: Float[Tensor, "*shape"], alpha: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``top - alpha * across``: descends the loss at the worst point, and climbs the plain one across that."""
    return top - alpha * across


def total_product(a: Sequence[Tensor], b: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The inner product of two lists of tensors as two vectors."""
    parts = [
        whole((_wide(x) * _wide(y)).sum()) if hasattr(x, "full_tensor") else torch.dot(_flat(x), _flat(y))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def member_products(a: Sequence[Tensor], b: Sequence[Tensor]) -> Float[Tensor, " member"]:
    """:func:`total_product` of each member's tensors [member, *shape]."""
    return torch.stack([(x * y).reshape(len(x), -1).sum(dim=1) for x, y in zip(a, b, strict=True)]).sum(dim=0)


def _flat(x: Tensor) -> Tensor:
    return _wide(x).reshape(-1)


def _wide(x: Tensor) -> Tensor:
    """In at least float32: sums of many half-precision products lose too much."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


class StackedGSAM(StackedSAM):
    """All members climb together; those with a radius of 0 keep the first gradient."""

    def read(self) -> None:
        super().read()
        self.alpha = self.values("alpha", 0.0)

    def _climb(self, grads: list[Tensor]) -> Iterator[None]:
        plain = [g.clone() for g in grads]
        yield from super()._climb(grads)
        product, square = member_products(plain, grads), member_products(grads, grads)
        for g, p in zip(grads, plain, strict=True):
            across = without_part_along(p, g, each(product, g.ndim), each(square, g.ndim))
            acts = self.wide([float(rho > 0) for rho in self.rho], g.ndim) > 0
            g.copy_(torch.where(acts, gsam_gradient(g, across, self.wide(self.alpha, g.ndim)), p))


class GSAM(Technique):
    r"""Surrogate-gap guided sharpness-aware minimization: SAM whose step also lessens how far the worst point nearby
    lies above the present one.

    .. math:: g_p = \nabla \mathrm{loss}\Big(w + \rho \frac{g}{\lVert g \rVert_2}\Big), \qquad
        g_\perp = g - \frac{\langle g, g_p \rangle}{\langle g_p, g_p \rangle}\, g_p, \qquad
        w \leftarrow w - \eta\,(g_p - \alpha\, g_\perp), \qquad g = \nabla \mathrm{loss}(w)

    The step descends the loss at the worst point as SAM does; across that direction it climbs the plain loss, which
    lessens the gap of the two without raising the worst one (to first order). α = 0 is SAM. The paper lets ρ follow
    the learning rate: ``rho="0.1to0.02@cosine"`` does so beside a cosine schedule. All else is as in :class:`SAM`.

    Args:
        rho: radius ρ >= 0, in the units of the weights' 2-norm. 0 is off.
        alpha: α >= 0, how much the gap weighs; 0.1 to 0.6 is usual.

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
        >>> with dashpot.sharpness.GSAM(rho=0.05, alpha=0.4).attach(model, optimizer, closure=True):
        ...     loss = optimizer.step(closure)

    Paper: Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022.

    When not to use it: with very small batches, where both gradients are mostly noise and nearly orthogonal; a large α
    then climbs the loss.
    """

    summary = "steps by the worst gradient nearby, lessening its gap (two gradients per step)"
    exclusive = ("second gradient",)
    rules = (NO_SCALER, IN_ORDER)
    stacked = StackedGSAM
    evaluations = 2

    rho: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.5), log=True, off=0.0)] = field(
        default=0.05, kw_only=False
    )
    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.05, 1.0), log=True)] = 0.4

    def asks(self, step: int) -> int:
        return self.evaluations if self.rho else 1

    def on_gradient(self, params: Params, ctx: Context) -> Generator[None, None, None]:
        if not len(params) or self.rho == 0:
            return
        plain = [g.detach().clone() for g in params.grads]
        with displaced(params, worst_point(params, plain, self.rho)):
            yield
        tops = params.grads
        product, square = total_product(plain, tops), total_product(tops, tops)
        for top, g in zip(tops, plain, strict=True):
            across = without_part_along(g, top, *(replicated(n.to(g.device), g) for n in (product, square)))
            top.copy_(gsam_gradient(top, across, self.alpha))
