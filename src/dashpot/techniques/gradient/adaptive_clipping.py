"""Adaptive gradient clipping: bound each unit's gradient by a share of its weights."""

from __future__ import annotations

import math
import warnings
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.axes import Axes
from dashpot.core.fields.domains import Flag, Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.running.context import Context
from dashpot.core.running.selecting import SelectionWarning
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.gradient.centralization import units
from dashpot.techniques.gradient.clipping import layer_of
from dashpot.techniques.penalties.selected import refuse_complex


def adaptive_coefficient(
    gradient: Float[Tensor, "*shape"],
    weight: Float[Tensor, "*shape"],
    clipping: float | Float[Tensor, "*wide"],
    eps: float | Float[Tensor, "*wide"],
    dims: tuple[int, ...],
) -> Float[Tensor, "*units"]:
    """``min(1, clipping * max(|weight|, eps) / |gradient|)``, with 2-norms along ``dims``, which are kept."""
    size, length = (_norm(t, dims) for t in (weight, gradient))
    least = torch.maximum(size, eps.to(size.dtype)) if isinstance(eps, Tensor) else size.clamp_min(eps)
    bound = clipping * least
    return torch.clamp(bound / length.clamp_min(torch.finfo(length.dtype).tiny), max=1.0)


def _norm(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    return torch.linalg.vector_norm(t, dim=dims, keepdim=True) if dims else t.abs()


def clip(
    gradient: Tensor,
    weight: Tensor,
    axes: Axes,
    clipping: float | Tensor,
    eps: float | Tensor,
    *,
    members: bool = False,
) -> None:
    """Multiply each unit of a gradient by :func:`adaptive_coefficient`, in place."""
    g, dims = units(gradient, axes, members)
    w, _ = units(weight.detach(), axes, members)
    # Where there are no units, as in a bias, all of it is one.
    g.mul_(adaptive_coefficient(g, w, clipping, eps, dims or tuple(range(int(members), g.ndim))))


def head_of(view: ModelView) -> str:
    """The last module with a weight of two dimensions or more, by name; frozen ones count."""
    found = [name for name, m in view.modules.items() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
    return layer_of(f"{found[-1]}.weight") if found else ""


class StackedAdaptiveGradientClipping(StackedTechnique):
    """Each member by its own weights; infinity does nothing."""

    def read(self) -> None:
        self.clipping: dict[int, list[float]] = {}
        self.eps = self.values("eps", 1.0)
        names = [segment.name for segment in self.stack.block.segments]
        self.axes = [self.stack.view.axes(name) for name in names]
        head = head_of(self.stack.view)
        for k, technique in enumerate(self.techniques):
            for t in self.selected(k):
                if technique.head or layer_of(names[t]) != head:
                    self.clipping.setdefault(t, [math.inf] * len(self.techniques))[k] = technique.clipping

    def on_gradient(self, grads: list[Tensor]) -> None:
        for t, clipping in self.clipping.items():
            g, w = grads[t], self.stack.block.parameters[t]
            own = self.axes[t]
            wide = w.ndim + (own.parts > 1)
            clip(g, w, own, self.wide(clipping, wide), self.wide(self.eps, wide), members=True)


class AdaptiveGradientClipping(Technique):
    r"""Bound the gradient of each unit by a share of the length of its weights.

    .. math:: g_i \leftarrow g_i \cdot
        \min\Big(1, \mathrm{clipping}\, \frac{\max(\lVert w_i \rVert_2, \epsilon)}{\lVert g_i \rVert_2}\Big)

    for the weights :math:`w_i` of output i: a row of a matrix, a filter, the vector of a token. A bias, or any other
    parameter of one dimension, is one unit. What is bounded is the relative change that a step of SGD with a learning
    rate of 1 would make, so that one number suits all layers. It acts once per optimizer step, after accumulation, on
    unscaled gradients.

    Args:
        clipping: > 0; infinity is off. 0.01 to 0.16 usual, smaller for larger batches.
        eps: the least length of weights that counts, > 0, so that those that begin at zero can grow.
        head: also clip the last layer, the last module with a matrix, which the paper leaves alone.
        on: which parameters; all by default.

    Raises:
        ConfigError: a number at or below 0.
        ConflictError: complex parameters, or sparse gradients.

    Warns:
        SelectionWarning: nothing but the last layer is trained, and ``head`` is not set.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> with dashpot.gradient.AdaptiveGradientClipping(0.1, head=True).attach(model, optimizer):
        ...     (100 * model(torch.ones(1, 2))).sum().backward(); _ = optimizer.step()
        >>> model.weight.detach()
        tensor([[0.9000, 0.9000]])

    Paper: Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization", ICML 2021.

    When not to use it: in networks with normalizations, where it does little; under Adam, whose steps do not grow with
    the gradient.
    """

    summary = "bounds the gradient of each unit by a share of its weights"
    stacked = StackedAdaptiveGradientClipping

    clipping: Annotated[float, Range(0.0, math.inf, search=(0.01, 0.3), log=True, off=math.inf, open="low")] = field(
        default=0.01, kw_only=False
    )
    eps: Annotated[float, Range(0.0, math.inf, open="low")] = 1e-3
    head: Annotated[bool, Flag()] = False
    on: Annotated[Where, Selection()] = Where.role("everything")

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_complex("AdaptiveGradientClipping", self.on, view)
        head, names = head_of(view), view.params(self.on).names
        if not self.head and names and all(layer_of(name) == head for name in names):
            warnings.warn(
                f"AdaptiveGradientClipping leaves the last layer ({head or type(view.model).__name__}) alone, and"
                f" on={self.on} selects nothing else that is trained. Give head=True to clip it.",
                SelectionWarning,
                stacklevel=6,
            )

    def on_gradient(self, params: Params, ctx: Context) -> None:
        head = None if self.head else head_of(ctx.view)
        for (name, w, _), grad, axes in zip(params, params.grads, params.axes, strict=True):
            if layer_of(name) == head:
                continue
            clip(grad, w, axes, self.clipping, self.eps)

    def describe(self, view: ModelView) -> str:
        told = super().describe(view)
        return told if self.head else f"{told} without {head_of(view) or 'the only layer'}"
