"""N:M sparsity: at most n of every m consecutive weights."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range
from dashpot.techniques.penalties.constraint import Constraint
from dashpot.techniques.penalties.hard_threshold import metric_size
from dashpot.techniques.penalties.proximal import spread


def keep_n_of_m(
    w: Float[Tensor, "*rows columns"], step: float | Float[Tensor, "*#rows #columns"], n: int, m: int
) -> Float[Tensor, "*rows columns"]:
    """Of every ``m`` consecutive weights of a row the ``n`` with the largest ``w^2 / step``; of equals the earlier
    stay.
    """
    score = metric_size(w, step).reshape(-1, m)
    order = score.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter(1, order, torch.arange(m, device=w.device).expand_as(order))
    return torch.where((rank < n).reshape(w.shape), w, torch.zeros_like(w))


class NOfM(Constraint):
    r"""Keep at most n of every m consecutive weights along the inputs of a row, such as 2:4, which the sparse units of
    GPUs want.

    .. math:: \lVert w_{r,\,mj \ldots mj+m-1} \rVert_0 \le n

    Args:
        n: how many stay, at least 1 and at most m.
        m: of how many.
        scaling, on: as for :class:`L1`. Convolutions are taken as [filters, everything else].

    Raises:
        ConfigError: n > m; at attach, rows whose length m does not divide.

    Example:
        >>> import torch, dashpot
        >>> dashpot.NOfM(n=2, m=4).prox(torch.tensor([[1.0, -3.0, 0.5, 2.0]]), step=1.0)
        tensor([[ 0., -3.,  0.,  2.]])

    Paper: Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks from Scratch", ICLR 2021.

    When not to use it: on a CPU, where the pattern makes nothing faster.
    """

    summary = "keeps n of every m consecutive weights"
    convex = False

    # n = m keeps everything; since m varies, no single value of n is "off".
    waivers = {"off": "it is off where n equals m, not at one value of a field"}  # noqa: RUF012

    n: Annotated[int, Range(1, float("inf"), integer=True)] = field(default=2, kw_only=False)
    m: Annotated[int, Range(1, float("inf"), integer=True)] = 4

    def validate(self) -> None:
        if self.n > self.m:
            raise ConfigError("NOfM.n", f"at most m ({self.m})", self.n)

    def prox(self, w: Float[Tensor, "*shape"], step: float | Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
        rows, steps = self.axes.matrices(w), spread(self.axes, step, w)
        return self.axes.restored(keep_n_of_m(rows, steps, self.n, self.m), w.shape)

    def stationarity(self, w: Float[Tensor, "*shape"], grad: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """``|grad|`` of the weights that stay."""
        return grad.abs() * (w != 0)

    def refuse_shape(self, name: str, w: Tensor) -> None:
        row = self.axes.matrices(w).shape[-1]
        if row % self.m:
            raise ConfigError(
                "NOfM.m",
                f"a divisor of the {row} inputs of {name}, whose shape is {list(w.shape)}",
                self.m,
                "Choose another m, or leave it out with `on`.",
            )
