"""DropBlock: zero squares of feature maps."""

from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dashpot.core.draws import uniform_by
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where, hidden
from dashpot.core.rng import uniform_at
from dashpot.techniques.dropout.activation import ActivationDropout, StackedActivationDropout
from dashpot.techniques.dropout.dropout import dropout
from dashpot.techniques.dropout.hook import DropHook

_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def drop_block(
    x: Float[Tensor, "..."], uniform: Float[Tensor, "..."], p: float | Float[Tensor, ""], block: int
) -> Float[Tensor, "..."]:
    """Zero where a block begins at most ``block - 1`` places before along each axis, scale the rest by ``1 / (1 - p)``.

    A block begins where ``uniform < 1 - (1 - p) ** (1 / n)``, with n places in a block: each place lies in n possible
    blocks, edges included, so that it is dropped with probability p.

    Args:
        x: [batch, channels, ...] with 1 to 3 axes of space; of two axes single numbers are dropped.
        uniform: in [0, 1), as :func:`corners` says: along each axis of space ``block - 1`` longer than x.
    """
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        return dropout(x, uniform, p)
    rate = p.float() if isinstance(p, Tensor) else torch.tensor(p, dtype=torch.float32, device="cpu")
    begins = -torch.expm1(torch.log1p(-rate.double()) / block**axes).float()
    lowest = -_POOLS[axes](-uniform, block, stride=1)
    scale = 1 / torch.clamp(1 - rate, min=torch.finfo(torch.float32).tiny)
    return x * ((lowest >= begins) * scale).to(x.dtype)


def corners(size: torch.Size, block: int) -> list[int]:
    """The shape of the numbers that say where blocks begin in x of this size.

    >>> corners(torch.Size([8, 3, 10, 10]), 5)
    [8, 3, 14, 14]
    """
    space = size[2:]
    return [*size[:2], *(n + block - 1 for n in space)] if 1 <= len(space) <= 3 else list(size)


class StackedDropBlock(StackedActivationDropout):
    """Each member with its own rates, blocks and draws."""

    def drop(self, x: Tensor, keys: np.ndarray, rates: np.ndarray) -> Tensor:
        parts = []
        for technique, one, key, rate in zip(self.techniques, x, keys, rates, strict=True):
            if technique is None or rate == 0:
                parts.append(one)
                continue
            size = corners(one.shape, technique.block)
            uniform = uniform_by(key[None], int(np.prod(size)), x.device).reshape(size)
            parts.append(drop_block(one, uniform, torch.tensor(rate, device="cpu"), technique.block))
        return torch.stack(parts)


class DropBlock(ActivationDropout):
    r"""Zero contiguous blocks of feature maps at random while training; the rest is scaled up so that the mean stays. A
    single place that is dropped can be read off its neighbours, a block cannot.

    .. math:: \tilde h_i = \frac{m_i}{1-p} h_i, \quad P(m_i = 0) = 1 - (1 - \gamma)^{b^d} = p

    Each sample and channel has its own blocks, b long along each of the d axes of space; blocks may overlap and hang
    over the edge. Every place is dropped with probability p exactly. The paper's blocks lie inside, overlap uncounted
    (fewer places than p are dropped), and the rest is scaled by what was kept in the batch. Goes into any model by
    forward hooks, and takes existing dropout modules over, as :class:`Dropout` does.

    Args:
        p: probability of *dropping* a place, in [0, 1]; 0 is off. 0.05 to 0.15 are usual, on a ramp such as
            ``"0to0.1"``.
        on: after which modules, by role, type or name, such as ``name:layer4.*`` (the paper: the last two groups of a
            ResNet). ``hidden`` (the default): the model's own dropout modules where it has any, else its activations,
            without one whose output is the network's.
        block: its length, a whole number >= 1; 1 is dropout.

    Raises:
        ConflictError: no module matches ``on``.

    Warns:
        DropoutOrderWarning: a batch normalization follows.
        SingleEpochWarning: the run is of one epoch.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
        >>> technique = dashpot.dropout.DropBlock(0.2, block=5, on="type:ReLU")
        >>> with technique.attach(model, torch.optim.SGD(model.parameters(), lr=0.1)):
        ...     dropped = model[1](torch.ones(64, 8, 20, 20)) == 0
        >>> round(float(dropped.float().mean()), 1)
        0.2

    Paper: Ghiasi, Lin and Le, "DropBlock: A regularization method for convolutional networks", NeurIPS 2018, arXiv
    1810.12890.

    When not to use it: where a block covers most of a map; early in short trainings; before batch normalization, unless
    the network is used to it.
    """

    summary = "zeroes blocks of feature maps"
    stacked = StackedDropBlock

    p: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.25), off=0.0)] = field(default=0.1, kw_only=False)
    on: Annotated[Where, Selection()] = hidden
    block: Annotated[int, Range(1, 10_000, integer=True)] = 7

    def hook(self, key: int, clock: Tensor, rate: Tensor) -> DropHook:
        hook = _Hook(key, clock, rate)
        hook.block = self.block
        return hook


class _Hook(DropHook):
    technique = "DropBlock"
    block = 1

    def drop(self, out: Tensor) -> Tensor:
        uniform = uniform_at(self.key, self.clock, corners(out.shape, self.block), out.device)
        return drop_block(out, uniform, self.rate, self.block)
