"""Gradient penalty: a loss that changes little with the input."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.running.context import Context
from dashpot.core.running.criteria import Samples
from dashpot.techniques.outputs.input_gradient import InputGradient


def gradient_square(
    gradient: Float[Tensor, "batch *shape"], strength: float | Float[Tensor, ""]
) -> Float[Tensor, " batch"]:
    """``strength / 2 * |gradient|^2`` of each sample."""
    return strength / 2 * gradient.reshape(len(gradient), -1).square().sum(dim=1)


class GradientPenalty(InputGradient):
    r"""Penalize how much the loss changes with the input: double backpropagation.

    .. math:: \ell_g = \ell + \frac{\lambda}{2} \Big\lVert \frac{\partial \ell}{\partial x} \Big\rVert^2

    for each sample, with the plain loss ℓ of the loop (of several positions their mean over those that count).
    To first order it is training on the worst inputs within a small ball, as adversarial examples are, at the cost of
    one more backward pass and its derivative. The input is the batch as the network gets it, after augmentation. Where
    samples share statistics (batch normalization in training mode) the gradient is that of the sum over the batch.

    Args:
        strength: λ >= 0, in units of the squared input by the loss. 0 is off; 0.01 to 1 is usual for standardized
            inputs.

    Raises:
        ConflictError: a compiled model.
        UsageError: inputs that are not floating point, a loss that is not of ``model(batch.x)``, or one without a row
            for each sample.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.outputs.GradientPenalty(2.0).attach(model, optimizer)
        >>> x, _ = session.batch(torch.randn(6, 4))
        >>> each = model(x)[:, 0]
        >>> loss = session.loss(each)
        >>> bool(torch.isclose(loss, each.mean() + model.weight.square().sum()))
        True

    Paper: Drucker and LeCun, "Improving Generalization Performance Using Double Backpropagation", IEEE Transactions on
    Neural Networks 1992; Ross and Doshi-Velez, "Improving the Adversarial Robustness and Interpretability of Deep
    Neural Networks by Regularizing their Input Gradients", AAAI 2018, arXiv 1711.09404.

    When not to use it: with inputs that are not on one scale; where samples are fitted already, whose loss has no
    gradient left; with fused attention, which has no second derivative in torch.
    """

    summary = "penalizes how much the loss changes with the input (two passes back)"

    strength: Annotated[float, Range(0.0, float("inf"), search=(1e-3, 10.0), log=True, off=0.0)] = field(
        default=0.1, kw_only=False
    )

    def on_loss(self, loss: Tensor, out: Any, ctx: Context) -> Tensor:
        if self.strength == 0:
            return loss
        samples = ctx.samples or Samples(loss)
        values = samples.values
        flat = values.reshape(len(values), -1)
        if samples.weight is None:
            plain = flat.mean(dim=1)
        else:
            counts = (samples.weight != 0).expand_as(values).reshape(flat.shape)
            plain = flat.masked_fill(~counts, 0).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
        gradient = self.gradient(plain.sum(), ctx)
        wide = gradient.float() if gradient.dtype in (torch.float16, torch.bfloat16) else gradient
        return self.added(loss, gradient_square(wide, self.strength))
