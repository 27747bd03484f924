"""Alpha dropout: dropout that keeps mean and variance of what SELU makes."""

from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.fields.domains import Flag, Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.rng import uniform_at
from dashpot.techniques.dropout.activation import ActivationDropout, StackedActivationDropout
from dashpot.techniques.dropout.hook import DropHook

LOWEST = -1.7580993408473766
"""What SELU tends to far below 0: its scale times its alpha."""


def alpha_dropout(
    x: Float[Tensor, "..."], uniform: Float[Tensor, "..."], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """SELU's lowest value where ``uniform < p``, and then the affine map that gives mean 0 and variance 1 back to what
    had them. ``p = 0`` is the identity and ``p = 1`` gives zeros.

    Args:
        uniform: in [0, 1), of the shape of x or one that broadcasts to it.
    """
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    variance = (1 - rate) * (1 + rate * LOWEST**2)
    scale = torch.rsqrt(torch.clamp(variance, min=torch.finfo(torch.float32).tiny))
    shift = scale * LOWEST * rate
    dropped = torch.where(uniform >= rate, x, torch.full((), LOWEST, dtype=x.dtype, device=x.device))
    return dropped * scale.to(x.dtype) - shift.to(x.dtype)


class StackedAlphaDropout(StackedActivationDropout):
    """Each member with its own rates and draws; whole maps where its technique says so."""

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        wide = self.wide(rates, x.ndim)
        parts = [technique is not None and technique.features for technique in self.techniques]
        if all(parts) or not any(parts):
            return alpha_dropout(x, _uniform(x, keys, all(parts)), wide)
        found = [x[k : k + 1] for k in range(len(x))]
        for k, features in enumerate(parts):
            found[k] = alpha_dropout(found[k], _uniform(found[k], keys[k : k + 1], features), wide[k : k + 1])
        return torch.cat(found)


def _uniform(x: Tensor, keys: np.ndarray, features: bool) -> Tensor:
    """[member, batch, ...], one number for each map where ``features``."""
    size = x.shape[:3] if features else x.shape
    uniform = uniform_by(keys, size[1:].numel(), x.device).reshape(size)
    return uniform.reshape(*size, *[1] * (x.ndim - len(size)))


class AlphaDropout(ActivationDropout):
    r"""Set random activations to SELU's lowest value, and map the whole so that mean and variance stay what they are:
    dropout for self-normalizing networks.

    .. math:: \tilde h = a\,(m h + (1-m)\,\alpha') + b, \quad m \sim \mathrm{Bernoulli}(1-p), \quad \alpha' = -1.758,
              \quad a = \big((1-p)(1 + p\,\alpha'^2)\big)^{-1/2}, \quad b = -a\,p\,\alpha'

    Goes into any model by forward hooks, and takes existing dropout modules over, as :class:`Dropout` does. In
    evaluation mode nothing happens. As ``nn.AlphaDropout``, and as ``nn.FeatureAlphaDropout`` with ``features``.

    Args:
        p: probability of *dropping*, in [0, 1]; 0 is off. 0.05 to 0.2 are usual.
        on: after which modules, by role, type or name. ``hidden`` (the default): the model's own dropout modules where
            it has any, else its activations, without one whose output is the network's.
        features: drop whole maps of [batch, channels, ...].

    Raises:
        ConflictError: no module matches ``on``.

    Warns:
        DropoutOrderWarning: a batch normalization follows.
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SELU(), torch.nn.Linear(8, 1))
        >>> technique = dashpot.dropout.AlphaDropout(0.3)
        >>> with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     out = model[1](torch.zeros(1, 8))
        >>> sorted({round(value, 2) for value in out.flatten().tolist()})
        [-1.06, 0.45]

    Paper: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv 1706.02515.

    When not to use it: behind other activations than SELU, whose values do not have mean 0 and variance 1: what is
    dropped is then no ordinary value.
    """

    summary = "sets random activations to SELU's lowest value"
    stacked = StackedAlphaDropout

    p: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.05, kw_only=False)
    on: Annotated[Where, Selection()] = hidden
    features: Annotated[bool, Flag()] = False

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        hook = _Hook(key, clock, rate)
        hook.features = self.features
        return hook


class _Hook(DropHook):
    technique = "AlphaDropout"
    features = False

    def drop(self, out: Tensor) -> Tensor:
        size = out.shape[:2] if self.features else out.shape
        uniform = uniform_at(self.key, self.clock, size, out.device)
        return alpha_dropout(out, uniform.reshape(*size, *[1] * (out.ndim - len(size))), self.rate)
