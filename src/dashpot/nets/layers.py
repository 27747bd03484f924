"""Layers of the table network that act on single columns: scaling, nominal columns.

Every class here and in ``numeric`` and ``members`` that sets ``stackable = True`` keeps two promises. Its ``forward``
counts axes from the end, so that it works unchanged when each of its parameters and buffers, and its input, get one
leading member axis (a population of networks). And it names, in ``parameter_role``, what its parameters are to a
technique's ``on=``: weights, scales or embeddings; parameters called ``bias`` are biases.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dashpot.core.axes import register_layer_axes
from dashpot.core.fields.domains import check_whole


class Scaling(nn.Module):
    """A learned factor for each column: ``x * (1 + speed * theta)``, theta starting at 0.

    Columns that matter can grow in one direction, which a matrix behind them would have to learn row by row. What is
    stored is theta: Adam moves each parameter by about the learning rate whatever its scale, so the factor moves
    ``speed`` times as fast as a weight, without a second learning rate. From RealMLP (Holzmüller et al.,
    NeurIPS 2024).

    Args:
        features: columns.
        speed: how much faster than theta the factor moves.

    Example:
        >>> import torch
        >>> bool((Scaling(3)(torch.ones(2, 3)) == 1).all())
        True
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "scales"

    def __init__(self, features: int, speed: float = 10.0) -> None:
        super().__init__()
        self.speed = speed
        self.theta = nn.Parameter(torch.zeros(check_whole("features", features)))

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, features] to the same."""
        return x * (1 + self.speed * self.theta).unsqueeze(-2)


class NominalEmbedding(nn.Module):
    """A nominal column with many levels as a few numbers: its one-hot block times a learned matrix.

    Linear in the block, so that blends of rows (Mixup) become blends of embeddings, and a level never seen (all zeros)
    becomes zeros. The rows start with length 1 on average, as a one-hot block has.

    Args:
        levels: columns of the one-hot block.
        size: numbers to make of it.

    Example:
        >>> import torch
        >>> NominalEmbedding(12, 4)(torch.eye(12)).shape
        torch.Size([12, 4])
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "embeddings"

    def __init__(self, levels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(check_whole("levels", levels), check_whole("size", size)) / size**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, levels] to [..., batch, size]."""
        return x @ self.weight


register_layer_axes(NominalEmbedding, outputs=1, inputs=0)
