"""Time shift: move each signal along its time axis."""

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws
from dashpot.techniques.augment.signal.base import SignalTechnique

BORDERS = ("replicate", "wrap", "zero")


def time_shift(
    x: Float[Tensor, "batch channels steps"], steps: Int[Tensor, " batch"], border: str = "replicate"
) -> Float[Tensor, "batch channels steps"]:
    """Each signal so many steps later; see :class:`TimeShift` for ``border``."""
    length = x.shape[-1]
    source = torch.arange(length, device=x.device) - steps.reshape(-1, 1)
    inside = source % length if border == "wrap" else source.clamp(0, length - 1)
    out = x.gather(-1, inside.unsqueeze(1).expand_as(x))
    if border == "zero":
        out = torch.where(((source >= 0) & (source < length)).unsqueeze(1), out, torch.zeros_like(out))
    return out


class TimeShift(SignalTechnique):
    r"""Move each signal along its time axis, by whole steps, all its channels alike.

    .. math:: \tilde x_t = x_{t-s}, \quad s = \mathrm{round}(u f T), \quad u \sim U(-1, 1)

    Args:
        fraction: f, the farthest shift by the signal's length T, in [0, 1]; 0 is off, 0.05 to 0.2 usual, and 1 with
            ``border="wrap"`` is every shift.
        border: what comes in at the end that is left: the edge's value (``"replicate"``), what went out at the other
            end (``"wrap"``, NumPy's ``roll``), or zeros, the mean of a standardized channel (``"zero"``).

    Raises:
        UsageError: inputs that are not floating-point signals [batch, channels, steps].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.TimeShift(fraction=1.0, border="wrap").attach(
        ...     model, torch.optim.SGD(model.parameters(), lr=0.1)
        ... )
        >>> x = torch.arange(8.0).expand(4, 1, 8)
        >>> bool((session.batch(x).x.sort(-1).values == x).all())
        True

    Paper: Um et al., "Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring using Convolutional
    Neural Networks", ICMI 2017, which compares such changes.

    When not to use it: where the time of an event is what is asked for, or a network that is told nothing by it, such
    as a convolutional one with a mean over all steps.
    """

    summary = "moves each signal along its time axis"
    order = -50
    preset = Preset("fraction=0.02..1", modalities=("signal",), order=30)

    fraction: Annotated[float, Range(0.0, 1.0, search=(0.02, 1.0), off=0.0)] = field(default=0.1, kw_only=False)
    border: Annotated[str, Choice(BORDERS, search=True)] = "replicate"

    def change(self, x: Tensor, draws: SampleDraws) -> Tensor:
        u = draws.uniform()[:, 0]
        if self.fraction == 0:
            return x
        steps = ((2 * u - 1) * (self.fraction * x.shape[-1])).round().long()
        return time_shift(x, steps.to(x.device, non_blocking=True), self.border)
