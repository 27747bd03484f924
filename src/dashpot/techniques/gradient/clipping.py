"""Gradient clipping: bound the gradient before the step."""

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.running.context import Context
from dashpot.core.running.sharded import alike, replicated, whole
from dashpot.core.running.tensors import beside
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stack import member_norms
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique


def clip_coefficient(norm: Float[Tensor, ""], maximum: float | Float[Tensor, ""]) -> Float[Tensor, ""]:
    """``min(1, maximum / norm)``, with torch's guard of 1e-6 in the denominator."""
    return torch.clamp(maximum / (norm + 1e-6), max=1.0)


def clip_value(gradient: Float[Tensor, "*shape"], maximum: float | Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """Each entry into ``[-maximum, maximum]``."""
    bound = beside(maximum, gradient)
    return torch.minimum(torch.maximum(gradient, -bound), bound)


def entries(gradient: Tensor) -> Tensor:
    """The values of a gradient; of a sparse one those that are there, each place once. Written to, it changes them."""
    if gradient.layout is not torch.sparse_coo:
        return gradient
    if not gradient.is_coalesced():  # in place, so that what is written to the values is written to the gradient
        gradient.copy_(gradient.coalesce())
    return gradient._values()


def total_norm(gradients: list[Tensor]) -> Float[Tensor, ""]:
    """The 2-norm of all gradients as one vector."""
    dense = [entries(g) for g in gradients]
    # Half precision could overflow, and float64 must not lose what it has.
    half = [g for g in dense if g.dtype in (torch.float16, torch.bfloat16)]
    full = [g for g in dense if g.dtype not in (torch.float16, torch.bfloat16)]
    norms: list[Tensor] = []
    for kind, dtype in ((full, None), (half, torch.float32)):
        for some in alike(kind):
            norms += torch._foreach_norm([kind[i] for i in some], dtype=dtype)
    if len(alike(norms)) > 1:  # some of the weights are held in shards
        norms = [whole(norm) for norm in norms]
    wide = torch.float64 if any(norm.dtype is torch.float64 for norm in norms) else torch.float32
    # The parts of a model may live on several devices.
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device, wide) for norm in norms]))
    return total


def scale(gradients: list[Tensor], maximum: float | Float[Tensor, ""]) -> None:
    """Multiply all by :func:`clip_coefficient`, in place."""
    factor = clip_coefficient(total_norm(gradients), maximum)
    for device in {g.device for g in gradients}:
        here = [entries(g) for g in gradients if g.device == device]
        for some in alike(here):
            torch._foreach_mul_([here[i] for i in some], replicated(factor.to(device), here[some[0]]))


def layer_of(name: str) -> str:
    """The name of the module that a parameter is of; what a weight is computed from belongs to the weight's module."""
    return f".{name.rpartition('.')[0]}".partition(".parametrizations.")[0][1:]


def layers_of(names: Iterable[str]) -> list[list[int]]:
    """The positions of the parameters of each module, by their full names."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(layer_of(name), []).append(i)
    return list(found.values())


class StackedGradientClipping(StackedTechnique):
    """Each member by its own norm; infinity does nothing."""

    def read(self) -> None:
        off = float("inf")
        self.limits = {
            by: [off if t is None or t.by != by else t.maximum for t in self.techniques]
            for by in ("norm", "layer", "value")
        }
        self.layers = layers_of(segment.name for segment in self.stack.block.segments)

    def on_gradient(self, grads: list[Tensor]) -> None:
        acting = {by: limits for by, limits in self.limits.items() if min(limits) < float("inf")}
        if "norm" in acting:
            self._by_norm(grads, acting["norm"])
        if "layer" in acting:
            for layer in self.layers:
                self._by_norm([grads[i] for i in layer], acting["layer"])
        if "value" in acting:
            for g in grads:
                g.copy_(clip_value(g, self.wide(acting["value"], g.ndim)))

    def _by_norm(self, grads: list[Tensor], limits: list[float]) -> None:
        factor = clip_coefficient(member_norms(grads), self.wide(limits, 1))
        for g in grads:
            g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))


class GradientClipping(Technique):
    r"""Bound the gradient before the step.

    .. math:: g \leftarrow g \cdot \min\Big(1, \frac{\mathrm{maximum}}{\lVert g \rVert_2 + 10^{-6}}\Big)
              \quad\text{or, by value,}\quad g_i \leftarrow \mathrm{clip}(g_i, -\mathrm{maximum}, \mathrm{maximum})

    The norm is that of all gradients together, or of each layer's, so that a layer with a large gradient does not slow
    down the others. It acts once per optimizer step, after accumulation, on unscaled gradients (also with a fused
    optimizer under GradScaler).

    Args:
        maximum: > 0, in the units of the gradient; infinity is off.
        by: ``"norm"`` keeps the direction, ``"layer"`` that of each layer (the parameters of one module together),
            ``"value"`` bounds each entry.

    Raises:
        ConfigError: ``maximum`` at or below 0, or another ``by``.
        ConflictError: complex parameters by value.

    Example:
        >>> import torch, dashpot
        >>> w = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.SGD(w.parameters(), lr=1.0)
        >>> with dashpot.GradientClipping(maximum=0.5).attach(w, optimizer):
        ...     before = w.weight.item()
        ...     (100 * w(torch.ones(1, 1))).sum().backward(); _ = optimizer.step()
        >>> round(before - w.weight.item(), 4)
        0.5

    Paper: Pascanu et al., "On the Difficulty of Training Recurrent Neural Networks", ICML 2013.

    When not to use it: it is no cure for a learning rate that is too high throughout; under Adam a constant bound that
    always binds changes little.
    """

    summary = "bounds the gradient"
    sparse_gradients = True
    stacked = StackedGradientClipping

    maximum: Annotated[float, Range(0.0, float("inf"), search=(0.1, 10.0), log=True, off=float("inf"), open="low")] = (
        field(default=1.0, kw_only=False)
    )
    by: Annotated[Literal["norm", "layer", "value"], Choice(("norm", "layer", "value"))] = "norm"

    def check(self, view: ModelView, ctx: Context) -> None:
        whole = [name for name, p in view.parameters.items() if p.is_complex()]
        if self.by == "value" and whole:
            raise ConflictError(
                f"GradientClipping(by='value') cannot bound {', '.join(whole)}: complex numbers have no order. Use"
                " by='norm' or by='layer'."
            )

    def on_gradient(self, params: Params, ctx: Context) -> None:
        grads = params.grads
        if not grads:
            return
        if self.by == "value":
            for g in map(entries, grads):
                g.copy_(clip_value(g, self.maximum))
        else:
            for layer in [range(len(grads))] if self.by == "norm" else layers_of(params.names):
                scale([grads[i] for i in layer], self.maximum)
