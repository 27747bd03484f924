"""Jacobian penalty: outputs that change little with the input."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.techniques.outputs.input_gradient import InputGradient


def jacobian_estimate(
    gradient: Float[Tensor, "batch *shape"], outputs: int, strength: float | Float[Tensor, ""]
) -> Float[Tensor, " batch"]:
    """``strength / 2 * outputs * |gradient|^2`` of each sample: with the gradient of outputs along a random direction
    of length 1, its mean is ``strength / 2`` times the squared Frobenius norm of the Jacobian.
    """
    return strength / 2 * outputs * gradient.reshape(len(gradient), -1).square().sum(dim=1)


class JacobianPenalty(InputGradient):
    r"""Penalize how much the outputs change with the input: the squared norm of their Jacobian.

    .. math:: \ell_J = \ell + \frac{\lambda}{2} \lVert J \rVert_F^2, \quad
        \lVert J \rVert_F^2 = C \cdot \mathbb{E}_v \Big\lVert \frac{\partial\, v^\top z}{\partial x} \Big\rVert^2

    with z the C outputs of a sample and v a random direction of length 1, drawn afresh for each sample and step. Each
    projection costs a backward pass, and all are differentiated again. The input is the batch as the network gets it,
    after augmentation. Where samples share statistics (batch normalization in training mode) the gradient is that of
    the sum over the batch.

    Args:
        strength: λ >= 0, for outputs and inputs in their own units. 0 is off; 0.001 to 0.1 is usual for standardized
            inputs.
        projections: directions in each step; 1 is enough, as the paper shows.

    Raises:
        ConflictError: a compiled model.
        UsageError: inputs that are not floating point, ``session.loss`` without outputs of ``model(batch.x)``, or a
            loss without a row for each sample.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.outputs.JacobianPenalty(2.0).attach(model, optimizer, targets="values")
        >>> x, y = session.batch(torch.randn(6, 4), torch.zeros(6, 1))
        >>> out = model(x)
        >>> loss = session.loss(torch.nn.MSELoss(), out)
        >>> bool(torch.isclose(loss, out.square().mean() + model.weight.square().sum()))
        True

    Paper: Hoffman, Roberts and Yaida, "Robust Learning with Jacobian Regularization", 2019, arXiv 1908.02729.

    When not to use it: with inputs that are not on one scale; with fused attention, which has no second derivative in
    torch (use the plain one: ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``).
    """

    summary = "penalizes how much outputs change with the input (two passes back)"

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-4, 1.0), log=True, off=0.0)] = field(
        default=0.01, kw_only=False
    )
    projections: Annotated[int, Range(1, 64, integer=True)] = 1

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        if not isinstance(out, Tensor) or not out.is_floating_point():
            raise UsageError("JacobianPenalty needs the model's output: call session.loss(per_sample, out).")
        flat = out.reshape(len(out), -1)
        wide = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        draws = ctx.draws()
        total: Tensor | None = None
        for _ in range(self.projections):
            along = draws.normal(wide.shape, wide.device, wide.dtype)
            along = along / along.norm(dim=1, keepdim=True)
            gradient = self.gradient((wide * along).sum(), ctx)
            each = jacobian_estimate(gradient, flat.shape[1], self.strength / self.projections)
            total = each if total is None else total + each
        return loss if total is None else self.added(loss, total)
