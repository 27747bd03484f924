"""Gaussian dropout: multiply activations with normal noise of mean 1."""

import math
from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.rng import uniform_at
from dashpot.techniques.dropout.activation import ActivationDropout, StackedActivationDropout
from dashpot.techniques.dropout.hook import DropHook


def gaussian_dropout(
    x: Float[Tensor, "*shape"], normal: Float[Tensor, "*shape"], p: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """``x (1 + s n)`` with ``s^2 = p / (1 - p)``, the variance of dropout's mask. ``p = 0`` is the identity.

    Args:
        normal: standard normal.
        p: in [0, 1).
    """
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    return x * (1 + torch.sqrt(rate / (1 - rate)) * normal).to(x.dtype)


def box_muller(uniform: Float[Tensor, "two *shape"]) -> Float[Tensor, "*shape"]:
    """Standard normal numbers from two times as many uniform ones in [0, 1)."""
    return torch.sqrt(-2 * torch.log(1 - uniform[0])) * torch.cos(2 * math.pi * uniform[1])


class StackedGaussianDropout(StackedActivationDropout):
    """Each member with its own rates and noise."""

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        uniform = uniform_by(keys, 2 * x[0].numel(), x.device).reshape(len(x), 2, *x.shape[1:])
        return gaussian_dropout(x, box_muller(uniform.transpose(0, 1)), self.wide(rates, x.ndim))


class GaussianDropout(ActivationDropout):
    r"""Multiply activations with normal noise of mean 1 while training: what dropout does to mean and variance, without
    zeros.

    .. math:: \tilde h = h\,(1 + \sigma n), \quad n \sim N(0, 1), \quad \sigma^2 = \frac{p}{1-p}

    Goes into any model by forward hooks, and takes existing dropout modules over, as :class:`Dropout` does. In
    evaluation mode nothing happens.

    Args:
        p: rate of the :class:`Dropout` that adds as much variance, in [0, 1). 0 is off; 0.1 to 0.5 are usual.
        on: after which modules, by role, type or name. ``hidden`` (the default): the model's own dropout modules where
            it has any, else its activations, without one whose output is the network's.

    Raises:
        ConflictError: no module matches ``on``.

    Warns:
        DropoutOrderWarning: a batch normalization follows.
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> technique = dashpot.dropout.GaussianDropout(0.2)
        >>> with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     noise = model[1](torch.ones(1000, 50))
        >>> round(float(noise.mean()), 1), round(float(noise.var()), 2)
        (1.0, 0.25)

    Paper: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section
    10.

    When not to use it: in front of what must stay positive (at p above 0.1 some factors are negative); before batch
    normalization; in small networks that underfit.
    """

    summary = "multiplies activations with normal noise"
    stacked = StackedGaussianDropout

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0, open="high")] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = hidden

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        return _Hook(key, clock, rate)


class _Hook(DropHook):
    technique = "GaussianDropout"

    def drop(self, out: Tensor) -> Tensor:
        noise = box_muller(uniform_at(self.key, self.clock, (2, *out.shape), out.device))
        return gaussian_dropout(out, noise, self.rate)
