"""Channel dropout, also called spatial dropout: zero whole feature maps."""

from dataclasses import field
from typing import Annotated

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.techniques.dropout.activation import ActivationDropout, StackedActivationDropout
from dashpot.techniques.dropout.dropout import dropout, dropped_at
from dashpot.techniques.dropout.hook import DropHook


def channel_dropout(
    x: Float[Tensor, "..."], uniform: Float[Tensor, "..."], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Feature maps with ``uniform < p`` are zeros, the others are scaled by ``1 / (1 - p)``.

    Args:
        x: [batch, channels, ...], or [member, batch, channels, ...].
        uniform: in [0, 1), for each map: [batch, channels] or [member, batch, channels].
        p: the rate, or one for each member, [member, 1, ...] of as many axes as x.
    """
    return dropout(x, uniform.reshape(*uniform.shape, *[1] * (x.ndim - uniform.ndim)), p)


class StackedChannelDropout(StackedActivationDropout):
    """Each member with its own rates and maps."""

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        size = x.shape[:3]
        uniform = uniform_by(keys, size[1:].numel(), x.device).reshape(size)
        return channel_dropout(x, uniform, self.wide(rates, x.ndim))


class ChannelDropout(ActivationDropout):
    r"""Zero whole feature maps at random while training; the rest is scaled up so that the mean stays. Of signals,
    images and volumes alike, as ``nn.Dropout1d``, ``nn.Dropout2d`` and ``nn.Dropout3d``.

    .. math:: \tilde h_c = \frac{m_c}{1-p} h_c, \quad m_c \sim \mathrm{Bernoulli}(1-p) \text{ for each sample and
        channel } c

    Goes into any model by forward hooks, and takes existing dropout modules over, as :class:`Dropout` does. Outputs are
    [batch, channels, ...]; those of two axes have no maps, and single numbers are dropped.

    Args:
        p: probability of *dropping* a map, in [0, 1]; 0 is off. 0.05 to 0.3 are usual.
        on: after which modules, by role, type or name. ``hidden`` (the default): the model's own dropout modules where
            it has any, else its activations, without one whose output is the network's.

    Raises:
        ConflictError: no module matches ``on``.

    Warns:
        DropoutOrderWarning: a batch normalization follows.
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
        >>> technique = dashpot.dropout.ChannelDropout(0.5, on="activations")
        >>> with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     maps = model[1](torch.ones(4, 8, 3, 3)).flatten(2)
        >>> bool((maps == maps[:, :, :1]).all())
        True

    Paper: Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015, arXiv 1411.4280.

    When not to use it: on [batch, steps, features], where it would leave out steps (``VariationalDropout`` leaves out
    features); in layers of few channels; before batch normalization.
    """

    summary = "zeroes random feature maps"
    stacked = StackedChannelDropout

    p: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.4), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = hidden

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        return _Hook(key, clock, rate)


class _Hook(DropHook):
    technique = "ChannelDropout"

    def drop(self, out: Tensor) -> Tensor:
        return dropped_at(self, out, (*out.shape[:2], *[1] * (out.ndim - 2)))
