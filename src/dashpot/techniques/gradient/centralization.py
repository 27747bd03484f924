"""Gradient centralization: each unit's gradient without its mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor

from dashpot.core.axes import Axes
from dashpot.core.fields.domains import Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView, Params
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.decay import OF_COMPUTED
from dashpot.techniques.penalties.selected import refuse_computed


def centered(gradient: Float[Tensor, "*shape"], dims: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """``gradient - mean``, the mean along ``dims``."""
    return gradient - gradient.mean(dim=dims, keepdim=True)


def units(gradient: Tensor, axes: Axes, members: bool = False) -> tuple[Tensor, tuple[int, ...]]:
    """A view of a gradient, and its axes along which the numbers of one unit (an output, a token) lie; none where there
    are no such units.

    Args:
        axes: of the parameter; of each matrix that it stacks, units are their own.
        members: the first axis is that of the members of a stack.
    """
    first = int(members)
    if axes.parts > 1:
        gradient = gradient.view(*gradient.shape[:first], *axes.split(gradient.shape[first:]))
    own = {axis + first for axis in (*axes.rows, *([0] if axes.parts > 1 else []))}
    return gradient, tuple(d for d in range(first, gradient.ndim) if d not in own)


def center(gradient: Tensor, axes: Axes, members: list[int] | None = None) -> None:
    """:func:`centered`, in place; of some members of a stack, where they are given. A unit of one number stays."""
    g, dims = units(gradient, axes, members is not None)
    if math.prod(g.shape[d] for d in dims) <= 1:
        return
    if members is None or len(members) == len(g):
        g.copy_(centered(g, dims))
    else:
        g[members] = centered(g[members], dims)


class StackedGradientCentralization(StackedTechnique):
    """Of the members that have it; nothing is taken from the others."""

    def read(self) -> None:
        self.places: dict[int, list[int]] = {}
        for k in range(len(self.techniques)):
            for t in self.selected(k):
                self.places.setdefault(t, []).append(k)
        self.axes = [self.stack.view.axes(segment.name) for segment in self.stack.block.segments]

    def on_gradient(self, grads: list[Tensor]) -> None:
        for t, members in self.places.items():
            center(grads[t], self.axes[t], members)


class GradientCentralization(Technique):
    r"""Take the mean away from the gradient of each unit: of a row of a matrix, of a filter.

    .. math:: g_i \leftarrow g_i - \frac{1}{n} \sum_{j=1}^{n} g_{ij}

    for output i and its n inputs (of a convolution inputs times positions), so that under SGD the sum of its weights
    stays as it was at the start. It acts once per optimizer step, after accumulation, and needs no number. Parameters
    of one dimension and units with one input are left alone; a weight that stacks several matrices (gates, projections,
    groups of a convolution) is taken as each of them.

    Args:
        on: which parameters. Weights by default: no biases, norms or embeddings.

    Raises:
        ConflictError: weights that are computed from others, or sparse gradients.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(3, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.gradient.GradientCentralization().attach(model, optimizer):
        ...     before = model.weight.detach().sum(dim=1)
        ...     model(torch.rand(8, 3)).square().sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(model.weight.sum(dim=1), before, atol=1e-5))
        True

    Paper: Yong et al., "Gradient Centralization: A New Optimization Technique for Deep Neural Networks", ECCV 2020.

    When not to use it: where the sum of the weights of a unit means something, as in a linear model of counts. It goes
    before clipping in a recipe, since it makes gradients shorter.
    """

    summary = "takes the mean away from the gradient of each unit"
    waivers: ClassVar[Mapping[str, str]] = {"off": "it has no strength: it acts or it does not"}
    stacked = StackedGradientCentralization
    rules = (OF_COMPUTED,)

    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("GradientCentralization", self.on, view)

    def on_gradient(self, params: Params, ctx: Context) -> None:
        for grad, axes in zip(params.grads, params.axes, strict=True):
            center(grad, axes)
