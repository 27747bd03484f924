"""Soft orthogonality: rows of a matrix pushed toward orthonormal ones, through the gradient."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, weights
from dashpot.core.running.context import Context
from dashpot.core.running.direction import direction
from dashpot.core.running.view import ModelView, Params
from dashpot.core.technique import Technique
from dashpot.techniques.penalties.proximal import Scalar
from dashpot.techniques.penalties.selected import refuse_complex, refuse_computed


def _excess(w: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix with its short side in rows, and its Gram matrix less the identity."""
    matrix = w if w.shape[-2] <= w.shape[-1] else w.mT
    return matrix, matrix @ matrix.mT - torch.eye(matrix.shape[-2], dtype=w.dtype, device=w.device)


def orthogonality_value(w: Float[Tensor, "*parts rows columns"], strength: Scalar) -> Float[Tensor, ""]:
    """``strength / 4 * |W W^T - I|^2``, with W's short side in rows; the sum over all matrices where there are
    several.
    """
    return strength / 4 * _excess(w)[1].square().sum()


def orthogonality_gradient(
    w: Float[Tensor, "*parts rows columns"], strength: Scalar
) -> Float[Tensor, "*parts rows columns"]:
    """``strength * (W W^T - I) W``."""
    matrix, excess = _excess(w)
    gradient = strength * (excess @ matrix)
    return gradient if w.shape[-2] <= w.shape[-1] else gradient.mT


class Orthogonality(Technique):
    r"""Penalize the distance of each weight matrix from one with orthonormal rows (columns, where there are fewer of
    them), in the gradient.

    .. math:: \frac{\mathrm{strength}}{4} \lVert W W^\top - I \rVert_F^2, \qquad
        g \leftarrow g + \mathrm{strength}\,(W W^\top - I)\,W

    It has no proximal map that is known in closed form, so that it goes through the gradient, and is refused where a
    proximal step is asked for. Convolutions are taken as [filters, everything else]; a weight that stacks several
    matrices (gates, projections, the groups of a convolution) as each of them.

    Args:
        strength: >= 0; 0 is off.
        on: which parameters. Weights by default.

    Raises:
        ConfigError: a strength that is negative or infinite.
        ConflictError: at attach, weights that are computed from others, complex or held in shards.

    Example:
        >>> import torch, dashpot
        >>> layer = torch.nn.Linear(4, 2, bias=False)
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
        >>> with dashpot.Orthogonality(strength=1.0).attach(layer, optimizer):
        ...     for _ in range(200):
        ...         optimizer.zero_grad(); (0 * layer(torch.ones(1, 4))).sum().backward(); _ = optimizer.step()
        >>> bool(torch.allclose(layer.weight @ layer.weight.T, torch.eye(2), atol=1e-3))
        True

    Paper: Bansal, Chen and Wang, "Can We Gain More from Orthogonality Regularizations in Training Deep CNNs?", NeurIPS
    2018.

    When not to use it: together with decay on the same weights, which pulls the other way.
    """

    summary = "pushes weight matrices toward orthonormal rows, in the gradient"

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-5, 1e-1), log=True, off=0.0)] = field(
        default=1e-3, kw_only=False
    )
    on: Annotated[Where, Selection()] = weights

    def check(self, view: ModelView, ctx: Context) -> None:
        refuse_computed("Orthogonality", self.on, view)
        refuse_complex("Orthogonality", self.on, view)
        for name, w, _ in view.params(self.on):
            if hasattr(w, "to_local"):  # a DTensor
                raise ConflictError(
                    f"Orthogonality needs whole matrices, and {name} is held in shards. Leave it out with `on`, or use"
                    " DistributedDataParallel."
                )

    @torch.no_grad()
    def penalty_now(self, ctx: Context) -> Tensor | None:
        chosen = ctx.view.params(self.on)
        pairs = zip(chosen.tensors, chosen.axes, strict=True)
        values = [orthogonality_value(axes.matrices(w), self.strength) for w, axes in pairs]
        return torch.stack([value.to(values[0].device) for value in values]).sum() if values else None

    def on_gradient(self, params: Params, ctx: Context) -> None:
        for w, grad, group, axes in zip(params.tensors, params.grads, params.groups, params.axes, strict=True):
            push = orthogonality_gradient(axes.matrices(w), self.strength)
            grad.add_(axes.restored(push, w.shape), alpha=direction(group))
