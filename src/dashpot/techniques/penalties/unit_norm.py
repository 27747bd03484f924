"""Unit norm: the weights of a neuron stay on a sphere."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.constraint import Constraint
from dashpot.techniques.penalties.grouping import Grouping, Groups, as_grouping
from dashpot.techniques.penalties.groups import group_norm
from dashpot.techniques.penalties.proximal import Scalar, Scaling


def sphere(w: Float[Tensor, "*shape"], norm: Scalar, dims: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Each group scaled to ``norm``; a group of zeros has no nearest point, and stays."""
    length = group_norm(w, dims)
    return w * torch.where(length > 0, norm / torch.where(length > 0, length, 1), 1)


class UnitNorm(Constraint):
    r"""Scale each group of weights to a fixed norm after every step.

    .. math:: \lVert w_g \rVert_2 = c, \qquad w_g \leftarrow c\, w_g / \lVert w_g \rVert_2

    Args:
        norm: c > 0.
        groups: as for :class:`GroupLasso`.
        scaling: only the nearest point is known, so ``"decoupled"`` only.
        on: as for :class:`L1`.

    Raises:
        ConfigError: ``scaling="adaptive"``; at attach, a grouping that does not divide a parameter's shape.

    Example:
        >>> import torch, dashpot
        >>> dashpot.UnitNorm().prox(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), step=1.0)
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])

    Paper: Salimans and Kingma, "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural
    Networks", NeurIPS 2016 (fixed norms).

    When not to use it: in output layers, whose scale is the confidence of the network.
    """

    summary = "scales group norms to a fixed value"
    convex = False
    waivers = {"off": "a fixed norm has no value at which it does nothing"}  # noqa: RUF012

    norm: Annotated[float, Range(0.0, float("inf"), open="low")] = field(default=1.0, kw_only=False)
    groups: Annotated[Grouping | str | Tensor, Groups()] = Grouping("rows")
    scaling: Scaling = "decoupled"

    def validate(self) -> None:
        if self.scaling == "adaptive":
            raise ConfigError(
                "UnitNorm.scaling", "decoupled", self.scaling, "A sphere has no simple projection in another metric."
            )

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        layout = as_grouping(self.groups).layout(w.shape, axes=self.axes)
        return layout.unfold(sphere(layout.fold(w), self.norm, layout.dims), w.shape)

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The part of ``grad`` along the sphere."""
        layout = as_grouping(self.groups).layout(w.shape, axes=self.axes)
        v, g = layout.fold(w), layout.fold(grad)
        along = (v * g).sum(layout.dims, keepdim=True) / v.square().sum(layout.dims, keepdim=True).clamp(
            min=torch.finfo(w.dtype).tiny
        )
        return layout.unfold((g - along * v).abs(), w.shape)

    def refuse_shape(self, name: str, w: Tensor) -> None:
        as_grouping(self.groups).layout(w.shape, name, self.axes)
