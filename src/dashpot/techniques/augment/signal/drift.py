"""Drift: add a straight line to each signal."""

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws
from dashpot.techniques.augment.signal.base import SignalTechnique, per_sample


def drift(
    x: Float[Tensor, "batch channels steps"], slope: Float[Tensor, "batch 1 1"]
) -> Float[Tensor, "batch channels steps"]:
    """``x`` and a line from ``-slope`` at the first step to ``slope`` at the last one."""
    return x + slope * torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype, device=x.device)


class Drift(SignalTechnique):
    r"""Add a straight line through zero at the middle of each signal: the drift of a sensor, and shear of a curve.

    .. math:: \tilde x_t = x_t + u s \left(\tfrac{2t}{T-1} - 1\right), \quad u \sim U(-1, 1)

    Args:
        strength: s >= 0, the line's height at the last step at most, in units of the signal, which is standardized by
            the commands; 0 is off, 0.1 to 0.5 usual.

    Raises:
        UsageError: inputs that are not floating-point signals [batch, channels, steps].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Drift(strength=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x = session.batch(torch.zeros(4, 1, 9)).x
        >>> bool((x[..., 0] == -x[..., -1]).all() and (x[..., 4] == 0).all())
        True

    Paper: Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024, whose signals are sheared so.

    When not to use it: where the trend of a signal tells the class.
    """

    summary = "adds a straight line to each signal"
    order = -30
    preset = Preset("strength=0.05..1", modalities=("signal",), order=33)

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.05, 1.0), off=0.0)] = field(
        default=0.3, kw_only=False
    )

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        u = draws.uniform()[:, 0]
        return x if self.strength == 0 else drift(x, per_sample((2 * u - 1) * self.strength, x))
