"""Time mask: Cutout for signals."""

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws
from dashpot.techniques.augment.signal.base import SignalTechnique


def time_mask(
    x: Float[Tensor, "batch channels steps"], start: Int[Tensor, " batch"], length: Int[Tensor, " batch"]
) -> Float[Tensor, "batch channels steps"]:
    """Zero where ``start <= t < start + length``."""
    t, first = torch.arange(x.shape[-1], device=x.device), start.reshape(-1, 1)
    gone = (t >= first) & (t < first + length.reshape(-1, 1))
    return x.masked_fill(gone.unsqueeze(1), 0.0)


class TimeMask(SignalTechnique):
    r"""Set one run of steps of each signal to zero, the mean of a standardized channel, in all channels.

    .. math:: \tilde x_t = 0 \text{ where } a \le t < a + n, \text{ else } x_t, \quad
        n \sim U\{0, \dots, \mathrm{round}(f T)\}

    Args:
        fraction: f, the longest run by the signal's length T, in [0, 1]; 0 is off, 0.1 to 0.3 usual. The run begins
            anywhere where it fits.

    Raises:
        UsageError: inputs that are not floating-point signals [batch, channels, steps].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.TimeMask(fraction=0.5).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> masked = (session.batch(torch.ones(64, 2, 40)).x == 0).sum(-1)
        >>> int(masked.max()) <= 20, bool((masked[:, 0] == masked[:, 1]).all()), bool(masked.any())
        (True, True, True)

    Paper: Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", Interspeech
    2019.

    When not to use it: where one short event tells the class.
    """

    summary = "sets a run of steps of each signal to zero"
    order = -10
    preset = Preset("fraction=0.05..0.4", modalities=("signal",), order=34)

    fraction: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.2, kw_only=False)

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        u = draws.uniform(2).double()
        if self.fraction == 0:
            return x
        steps = x.shape[-1]
        length = (u[:, 0] * (round(self.fraction * steps) + 1)).floor()
        start = (u[:, 1] * (steps - length + 1)).floor()
        return time_mask(x, *(part.long().to(x.device, non_blocking=True) for part in (start, length)))
