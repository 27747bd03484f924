"""Time stretch: make each signal faster or slower."""

import math
from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws
from dashpot.techniques.augment.signal.base import SignalTechnique, per_sample


def time_stretch(
    x: Float[Tensor, "batch channels steps"], factor: Float[Tensor, "batch 1 1"]
) -> Float[Tensor, "batch channels steps"]:
    """Each signal ``factor`` times as long about its middle, by linear interpolation; beyond an edge its value."""
    last = x.shape[-1] - 1
    t = torch.arange(last + 1, dtype=x.dtype, device=x.device)
    at = ((t - last / 2) / factor + last / 2).clamp(0, last)
    low = at.floor().clamp(max=max(last - 1, 0))
    share, left = at - low, low.long().expand_as(x)
    return torch.lerp(x.gather(-1, left), x.gather(-1, (left + 1).clamp(max=last)), share)


class TimeStretch(SignalTechnique):
    r"""Make each signal faster or slower about its middle, by linear interpolation; beyond an edge its value goes on.

    .. math:: \tilde x_t = x\left(c + \tfrac{t - c}{r}\right), \quad r = (1 + s)^u, \quad u \sim U(-1, 1), \quad
        c = \tfrac{T-1}{2}

    Args:
        scale: s in [0, 3]; 0 is off, 0.1 to 0.3 usual: with 0.2 signals last between 1 / 1.2 and 1.2 times as long.

    Raises:
        UsageError: inputs that are not floating-point signals [batch, channels, steps].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.TimeStretch(scale=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x = session.batch(torch.arange(9.0).expand(16, 1, 9)).x
        >>> bool((x[..., 4] == 4).all() and (x[..., 5] - x[..., 4] < 1.51).all())
        True

    Paper: Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring using Convolutional
    Neural Networks", ICMI 2017.

    When not to use it: where speed or frequency tells the class.
    """

    summary = "makes each signal faster or slower"
    order = -45
    preset = Preset("scale=0.05..0.5", modalities=("signal",), order=31)

    scale: Annotated[float, Range(0.0, 3.0, search=(0.05, 0.5), off=0.0)] = field(default=0.2, kw_only=False)

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        u = draws.uniform()[:, 0]
        if self.scale == 0:
            return x
        return time_stretch(x, per_sample(((2 * u - 1) * math.log1p(self.scale)).exp(), x))
