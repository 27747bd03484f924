"""Weighted sums of rows of a table, with a gradient that is quick where few rows take part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class WeightedSums(nn.EmbeddingBag):
    """:class:`torch.nn.EmbeddingBag` that sums: the same sums and, to rounding, the same gradient of the table.

    torch sorts the ids of a batch for the gradient of the table; adding each id's part to it at once takes a third of
    the time. The weights have no gradient.

    Args:
        rows: of the table.
        width: of its rows.

    Example:
        >>> import torch
        >>> sums = WeightedSums(5, 2)
        >>> sums(torch.tensor([3, 1, 4]), torch.tensor([0, 2, 2])).shape
        torch.Size([3, 2])
    """

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width, mode="sum")

    def forward(  # type: ignore[override]  # the arguments that are meant here, under the names of this room
        self, ids: Tensor, starts: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Ids int64 [k], where those of each sum start, int64 [sums], and weights [k]; to [sums, width]."""
        weights = weights if weights is None else weights.to(self.weight.dtype)
        out: Tensor = _Sums.apply(self.weight, ids, starts, weights)  # type: ignore[no-untyped-call]  # torch's own
        return out


class LinearSums(WeightedSums):
    """The same as a linear layer over features of which few are not zero: its table holds weights of features, which
    decay and penalties act on as on those of other linear layers, and no vectors.
    """

    parameter_role = "weights"


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(table: Tensor, ids: Tensor, starts: Tensor, weights: Tensor | None) -> Tensor:
        return functional.embedding_bag(ids, table, starts, mode="sum", per_sample_weights=weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        table, ids, starts, weights = inputs
        ctx.rows = len(table)
        ctx.save_for_backward(ids, starts, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        ids, starts, weights = ctx.saved_tensors
        ends = torch.cat([starts[1:], starts.new_tensor([len(ids)])])
        part = grad.index_select(0, torch.repeat_interleave(ends - starts))
        if weights is not None:
            part *= weights[:, None]
        return grad.new_zeros(ctx.rows, grad.shape[1]).index_add_(0, ids, part), None, None, None
