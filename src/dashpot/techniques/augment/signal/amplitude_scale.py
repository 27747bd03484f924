"""Amplitude scale: multiply each signal by a number."""

from dataclasses import field
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws
from dashpot.techniques.augment.signal.base import SignalTechnique, per_sample


def amplitude_scale(
    x: Float[Tensor, "batch channels steps"], factor: Float[Tensor, "batch 1 1"]
) -> Float[Tensor, "batch channels steps"]:
    """``factor * x``."""
    return factor * x


class AmplitudeScale(SignalTechnique):
    r"""Multiply each signal by a number around 1, all its channels by the same.

    .. math:: \tilde x = e^{u s} x, \quad u \sim U(-1, 1)

    Args:
        strength: s >= 0; 0 is off, 0.1 to 0.4 usual. A factor and its inverse are equally likely; 0.23 is 2
            decibels.

    Raises:
        UsageError: inputs that are not floating-point signals [batch, channels, steps].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.AmplitudeScale(strength=0.5).attach(
        ...     model, torch.optim.SGD(model.parameters(), lr=0.1)
        ... )
        >>> x = session.batch(torch.ones(64, 1, 8)).x
        >>> bool((x > 0.6).all() and (x < 1.65).all() and x.std() > 0.1)
        True

    Paper: Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring using Convolutional
    Neural Networks", ICMI 2017.

    When not to use it: where the height of a signal tells the class.
    """

    summary = "multiplies each signal by a number around 1"
    order = -40
    preset = Preset("strength=0.05..0.5", modalities=("signal",), order=32)

    strength: Annotated[float, Range(0.0, float("inf"), search=(0.05, 0.5), off=0.0)] = field(
        default=0.2, kw_only=False
    )

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        u = draws.uniform()[:, 0]
        return x if self.strength == 0 else amplitude_scale(x, per_sample(((2 * u - 1) * self.strength).exp(), x))
