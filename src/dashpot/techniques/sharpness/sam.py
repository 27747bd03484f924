"""SAM: step by the gradient at the worst nearby point."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dashpot.core.fields.domains import Range
from dashpot.core.rules import Rule
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.sharded import replicated
from dashpot.core.running.view import Params
from dashpot.core.stacks.stack import member_norms
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.gradient.clipping import total_norm


def sam_ascent(
    w: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    norm: Float[Tensor, ""],
    rho: float | Float[Tensor, ""],
) -> Float[Tensor, "*shape"]:
    """``w + rho * gradient / norm``: the top of the linearized loss within ``rho``; ``w`` itself where the gradient
    vanishes.
    """
    share = rho / (norm + 1e-12)
    if w.dtype in (torch.float16, torch.bfloat16):  # in which so small a factor may be 0
        return w + (share * gradient.float()).to(w.dtype)
    return w + share.to(w.dtype) * gradient


def worst_point(params: Params, grads: list[Tensor], rho: float) -> Iterable[Tensor]:
    """Where each parameter stands after the ascent along these gradients, one after the other."""
    norm = total_norm(grads)
    for (_, w, group), g in zip(params, grads, strict=True):
        # Under maximize=True the worst point is where what is maximized is lowest.
        yield sam_ascent(w, g, replicated(norm.to(w.device), w), rho * direction(group))


@contextlib.contextmanager
def displaced(params: Params, there: Iterable[Tensor]) -> Iterator[None]:
    """The parameters stand there for a while; their own values are back afterwards, bit for bit."""
    start = [w.detach().clone() for w in params.tensors]
    try:
        for w, point in zip(params.tensors, there, strict=True):
            w.copy_(point)
        yield
    finally:
        for w, begun in zip(params.tensors, start, strict=True):
            w.copy_(begun)


@contextlib.contextmanager
def climbed(params: Params, rho: float) -> Iterator[None]:
    """The parameters stand at the worst point for a while, then where they began, bit for bit."""
    grads, tensors = params.grads, params.tensors
    ways = {direction(group) for group in params.groups}
    if len(ways) > 1 or not _alike([*tensors, *grads]):
        del grads
        with displaced(params, worst_point(params, params.grads, rho)):
            yield
        return
    # The same in a few calls for all of them: one by one, small tensors take longer to ask for than to compute.
    start = list(map(Tensor.clone, tensors))
    share = rho * ways.pop() / (total_norm(grads) + 1e-12)
    try:
        # The closure clears the gradients, so the way is computed in them; none is held while it computes new ones.
        torch._foreach_mul_(grads, share.to(tensors[0].dtype))
        torch._foreach_add_(tensors, grads)
        del grads
        yield
    finally:
        torch._foreach_copy_(tensors, start)


def _alike(tensors: list[Tensor]) -> bool:
    """Whether all are plain dense tensors of one device and one type, float32 or float64."""
    first = tensors[0]
    return first.dtype in (torch.float32, torch.float64) and all(
        type(t) in (Tensor, nn.Parameter)
        and t.layout is torch.strided
        and t.dtype is first.dtype
        and t.device == first.device
        for t in tensors
    )


def each(numbers: Float[Tensor, " member"], ndim: int) -> Tensor:
    """Numbers per member, to be multiplied with [member, ...] of ``ndim`` axes."""
    return numbers.reshape(-1, *[1] * (ndim - 1))


NO_SCALER = Rule(
    "second-gradient-with-grad-scaler",
    "torch.amp.GradScaler",
    "a scaler takes no closure, and without one there is no second gradient.",
    "refused",
    "use bfloat16 autocast without a scaler.",
)
IN_ORDER = Rule(
    "clipping-with-second-gradient",
    "gradient clipping",
    "behind it only the last gradient is bounded, in front of it both are, and the way to the worst point is another.",
    "up to you",
    "techniques on the gradient act in the recipe's order: GradientClipping() | SAM() bounds both gradients.",
)


class StackedSAM(StackedTechnique):
    """All members climb together. A radius of 0 adds exactly nothing: such members see the same gradient twice."""

    def read(self) -> None:
        self.rho = self.values("rho", 0.0)

    def on_gradient(self, grads: list[Tensor]) -> Iterator[None] | None:
        return self._climb(grads) if any(self.rho) else None

    def _climb(self, grads: list[Tensor]) -> Iterator[None]:
        block = self.stack.block
        start = block.values.clone()
        self.ascend(grads, self.rho)
        yield
        block.values.copy_(start)

    def ascend(self, grads: list[Tensor], rho: Sequence[float]) -> None:
        """Each member climbs within its radius."""
        norm = member_norms(grads)
        for p, g in zip(self.stack.block.parameters, grads, strict=True):
            p.detach().copy_(sam_ascent(p.detach(), g, each(norm, g.ndim), self.wide(rho, g.ndim)))


class SAM(Technique):
    r"""Sharpness-aware minimization: step from w by the gradient at the worst point within ρ of it.

    .. math:: w \leftarrow w - \eta\, \nabla
        \mathrm{loss}\Big(w + \rho \frac{\nabla \mathrm{loss}(w)}{\lVert \nabla \mathrm{loss}(w) \rVert_2}\Big)

    Two gradients per step, so about twice the time. The second pass sees the same dropout masks and leaves running
    batch-norm statistics alone; the weights are put back exactly. Under DistributedDataParallel the first gradient is
    each rank's own, under FSDP2 the mean over the ranks. The recipe's earlier gradient techniques act at both points:
    ``L2() | SAM()`` sharpens the penalized loss.

    Args:
        rho: radius ρ >= 0, in the units of the weights' 2-norm. 0 is off; 0.02 to 0.2 is usual.

    Raises:
        ConflictError: attached without ``closure=True``.
        UsageError: ``optimizer.step()`` without a closure. GradScaler cannot take a closure: use bfloat16 autocast
            without one.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = model(torch.ones(8, 4)).square().mean()
        ...     loss.backward()
        ...     return loss
        >>> with dashpot.SAM(rho=0.05).attach(model, optimizer, closure=True):
        ...     loss = optimizer.step(closure)

    Paper: Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021.

    When not to use it: where the doubled time buys more as twice the epochs; with very small batches ρ must shrink.
    """

    sparse_gradients = True
    summary = "steps by the gradient at the worst point nearby (two gradients per step)"
    exclusive = ("second gradient",)
    rules = (NO_SCALER, IN_ORDER)
    stacked = StackedSAM
    evaluations = 2

    rho: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.5), log=True, off=0.0)] = field(
        default=0.05, kw_only=False
    )

    def asks(self, step: int) -> int:
        return self.evaluations if self.rho else 1

    def on_gradient(self, params: Params, ctx: Context) -> Generator[None, None, None]:
        if not len(params) or self.rho == 0:
            return
        with climbed(params, self.rho):
            yield
