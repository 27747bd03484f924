"""Embeddings of numbers: several features for each numeric column. See ``layers`` for
``stackable``.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor, nn

from dashpot.core.axes import register_layer_axes
from dashpot.core.errors import DataError, UnknownNameError
from dashpot.core.fields.domains import check_whole


class Periodic(nn.Module):
    r"""Waves of learned frequency: :math:`[x, \; W \cos(2 \pi (f x + b)) + c]`, with own f, b, W, c for each column.

    The column itself stays among the outputs, so that nothing is lost where waves do not help. Frequencies start at a
    standard deviation of 0.1, less than a period over most of a standardized column: larger ones fit noise. This is the
    PBLD embedding of RealMLP (Holzmüller et al., NeurIPS 2024), after Gorishniy et al., "On Embeddings for Numerical
    Features in Tabular Deep Learning", NeurIPS 2022.

    Args:
        features: columns.
        size: numbers made of each, the column itself included; at least 2.
        waves: per column.
        spread: standard deviation of the first frequencies, in periods per unit.

    Example:
        >>> import torch
        >>> Periodic(3, 4)(torch.randn(5, 3)).shape
        torch.Size([5, 12])
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "embeddings"

    def __init__(self, features: int, size: int = 4, *, waves: int = 16, spread: float = 0.1) -> None:
        super().__init__()
        features, size, waves = (
            check_whole("features", features),
            check_whole("embedding_size", size, low=2),
            check_whole("waves", waves),
        )
        bound = waves**-0.5  # as nn.Linear of one column's waves
        self.frequency = nn.Parameter(spread * torch.randn(features, waves))
        self.phase = nn.Parameter(torch.rand(features, waves) - 0.5)
        self.weight = nn.Parameter(torch.empty(features, waves, size - 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, size - 1).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, features] to [..., batch, features * size], column by column."""
        column = x.unsqueeze(-1)
        waves = torch.cos(2 * math.pi * (column * self.frequency.unsqueeze(-3) + self.phase.unsqueeze(-3)))
        return _beside(column, waves, self.weight, self.bias)


class PiecewiseLinear(nn.Module):
    """A piecewise linear embedding with bins at quantiles: each column becomes itself and linear maps of its position
    in each of its bins, from 0 to 1.

    Outside of the bins only the column itself goes on growing. A value that many rows share counts for one bin's worth
    of rows, so that the other bins are left for the other values; where a column has fewer values than bins, some edges
    coincide, and a bin without width gives 0. Until :meth:`fit_bins` is called the bins are those of a standard normal
    column. After Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022.

    Args:
        features: columns.
        size: numbers made of each, the column itself included; at least 2.
        bins: per column.

    Example:
        >>> import torch
        >>> layer = PiecewiseLinear(3, 4, bins=8)
        >>> layer.fit_bins(torch.randn(100, 3))
        >>> layer(torch.randn(5, 3)).shape, layer.edges.shape
        (torch.Size([5, 12]), torch.Size([3, 9]))
    """

    stackable: ClassVar[bool] = True
    parameter_role: ClassVar[str] = "embeddings"
    edges: Tensor

    def __init__(self, features: int, size: int = 4, *, bins: int = 16) -> None:
        super().__init__()
        features, size, bins = (
            check_whole("features", features),
            check_whole("embedding_size", size, low=2),
            check_whole("bins", bins),
        )
        normal = [NormalDist().inv_cdf(min(max(i / bins, 0.002), 0.998)) for i in range(bins + 1)]
        self.register_buffer("edges", torch.tensor(normal).repeat(features, 1))
        bound = bins**-0.5
        self.weight = nn.Parameter(torch.empty(features, bins, size - 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, size - 1).uniform_(-bound, bound))

    @torch.no_grad()
    def fit_bins(self, x: Tensor) -> None:
        """Put the edges at the quantiles of ``x`` [rows, features], in which no value of a column counts for more than
        a bin's share of the rows.

        Raises:
            DataError: no rows, other columns, or values that are not finite.
        """
        features, edges = self.edges.shape
        if x.ndim != 2 or x.shape[1] != features or not len(x):
            raise DataError(f"bins need rows of {features} columns, got shape {list(x.shape)}.")
        if not bool(torch.isfinite(x).all()):
            raise DataError("bins need finite values, got NaN or infinity. Fill missing values first.")
        most = math.ceil(len(x) / (edges - 1))
        for i in range(features):
            column = x[:, i].double().sort().values
            _, value, count = torch.unique_consecutive(column, return_inverse=True, return_counts=True)
            column = column[torch.arange(len(column), device=x.device) - (count.cumsum(0) - count)[value] < most]
            # By position in the sorted column, as torch.quantile does, which refuses more than 16 million rows.
            position = torch.linspace(0, len(column) - 1, edges, dtype=torch.float64, device=x.device)
            low = position.floor().long()
            self.edges[i] = torch.lerp(column[low], column[position.ceil().long()], position - low)

    def forward(self, x: Tensor) -> Tensor:
        """[..., batch, features] to [..., batch, features * size], column by column."""
        column = x.unsqueeze(-1)
        low, width = self.edges[..., :-1], self.edges.diff(dim=-1)
        # Dividing by 1 where the width is 0 keeps NaN out of the gradient, too.
        safe = torch.where(width > 0, width, 1.0)
        way = ((column - low.unsqueeze(-3)) / safe.unsqueeze(-3)).clamp(0, 1) * (width > 0).unsqueeze(-3)
        return _beside(column, way, self.weight, self.bias)


for _layer in (Periodic, PiecewiseLinear):
    register_layer_axes(_layer, outputs=(0, 2), inputs=0)


def _beside(column: Tensor, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The column, and each column's values through its own linear map; flat."""
    made = torch.einsum("...bfw,...fws->...bfs", values, weight) + bias.unsqueeze(-3)
    return torch.cat([column, made], dim=-1).flatten(-2)


EMBEDDINGS = ("none", "periodic", "piecewise")


def make_embedding(name: str, features: int, size: int, bins: int) -> nn.Module:
    """The embedding of ``features`` numbers; Identity for ``"none"`` or where there are none.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in EMBEDDINGS:
        raise UnknownNameError("embedding", str(name), EMBEDDINGS)
    if name == "none" or not features:
        return nn.Identity()
    return PiecewiseLinear(features, size, bins=bins) if name == "piecewise" else Periodic(features, size)
