"""Ghost batch normalization: each part of a batch by its own mean and variance."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import ConfigError, ConflictError
from dashpot.core.fields.domains import Range, Selection
from dashpot.core.fields.select import Where
from dashpot.core.requires import Requires
from dashpot.core.running.context import Context
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique


def ghost_sizes(rows: int, size: int) -> list[int]:
    """How many rows each part of a batch has: ``size``, and what is left over; a single row, which has no variance,
    joins the part before.

    >>> ghost_sizes(10, 4), ghost_sizes(9, 4), ghost_sizes(3, 4)
    ([4, 4, 2], [4, 5], [3])
    """
    sizes = [size] * (rows // size)
    left = rows % size
    if left == 1 and sizes:
        sizes[-1] += 1
    elif left or not sizes:
        sizes.append(left)
    return sizes


class _Ghost(nn.modules.batchnorm._BatchNorm):
    """In training mode each part of the batch is normalized by itself; in evaluation mode it is what it was made of,
    with which it shares parameters and statistics.
    """

    def take(self, norm: nn.modules.batchnorm._BatchNorm, size: int) -> nn.Module:
        """Become that normalization with parts of so many rows; returns itself."""
        self.__dict__.update({name: value for name, value in vars(norm).items() if not name.startswith("_")})
        self._parameters, self._buffers = dict(norm._parameters), dict(norm._buffers)
        self.size = size
        return self

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name for it)
        sizes = ghost_sizes(len(input), self.size)
        if not self.training or len(sizes) == 1:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]  # torch has no types here
        tracked = self.track_running_stats and self.running_mean is not None
        mean, variance = (self.running_mean, self.running_var) if tracked else (None, None)
        # All parts of a batch together move the statistics as far as the whole batch would.
        share = 0.0 if self.momentum is None else 1 - (1 - self.momentum) ** (1 / len(sizes))
        parts = []
        for part in torch.split(input, sizes):
            if tracked and self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else share
            parts.append(functional.batch_norm(part, mean, variance, self.weight, self.bias, True, share, self.eps))
        return torch.cat(parts)


class GhostNorm1d(_Ghost, nn.BatchNorm1d):
    """Of ``nn.BatchNorm1d``."""


class GhostNorm2d(_Ghost, nn.BatchNorm2d):
    """Of ``nn.BatchNorm2d``."""


class GhostNorm3d(_Ghost, nn.BatchNorm3d):
    """Of ``nn.BatchNorm3d``."""


GHOSTS: Mapping[type[nn.Module], Any] = {
    nn.BatchNorm1d: GhostNorm1d,
    nn.BatchNorm2d: GhostNorm2d,
    nn.BatchNorm3d: GhostNorm3d,
}


class GhostBatchNorm(Technique):
    r"""Normalize each part of a training batch by its own mean and variance: large batches with the regularizing noise
    of small ones.

    .. math:: y_i = \gamma\, \frac{x_i - \mu_{g(i)}}{\sqrt{\sigma^2_{g(i)} + \epsilon}} + \beta, \qquad
        g(i) = \lfloor i / \text{size} \rfloor

    with mean and variance over the rows of part g (and over positions, for images and signals). The model's batch
    normalizations are replaced while the session is open, and share parameters and running statistics with those that
    take their place; evaluation and the final model are as ever. Where the batch ends with a single row, it joins the
    part before. Running statistics move as far with each batch as before. For the opposite, statistics over all
    processes, use ``nn.SyncBatchNorm.convert_sync_batchnorm`` before attaching.

    Args:
        size: rows of a part, at least 2; 16 to 128 is usual. 0 is off, as is a size of at least the batch.
        on: which modules; all batch normalizations by default.

    Raises:
        ConfigError: a size of 1, with which no part has a variance.
        ConflictError: at attach, no ``nn.BatchNorm1d``, ``2d`` or ``3d`` among the selected modules, or a compiled or
            wrapped model: attach first.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with dashpot.normalization.GhostBatchNorm(size=4).attach(model, optimizer):
        ...     out = model(torch.randn(8, 3))
        >>> [bool(part.mean(0).abs().max() < 1e-5) for part in out.detach().split(4)]
        [True, True]

    Paper: Hoffer et al., "Train longer, generalize better: closing the generalization gap in large batch training of
    neural networks", NeurIPS 2017.

    When not to use it: with batches of fewer than some 64 rows, whose statistics are noisy enough; with frozen
    statistics of a pretrained network.
    """

    summary = "normalizes parts of each batch by their own statistics"
    shards = False
    exclusive = ("batch normalization",)
    requires = Requires(modality=("table", "image", "signal"))

    size: Annotated[int, Range(0, float("inf"), off=0, integer=True)] = field(default=32, kw_only=False)
    on: Annotated[Where, Selection()] = Where.type("_BatchNorm")

    def validate(self) -> None:
        if self.size == 1:
            raise ConfigError("GhostBatchNorm.size", "0 (off) or at least 2, since one sample has no variance", 1)

    def acts_on(self, view: ModelView) -> list[str]:
        return [name for name, module in view.places(self.on).items() if isinstance(module, (*GHOSTS, _Ghost))]

    def check(self, view: ModelView, ctx: Context) -> None:
        if self.size and not self.acts_on(view):
            known = [name for name, module in view.modules.items() if type(module) in GHOSTS]
            raise ConflictError(
                f"GhostBatchNorm acts on nn.BatchNorm1d, 2d and 3d, and on={str(self.on)!r} selects none of this"
                f" {type(view.model).__name__}, which has {', '.join(known) or 'no batch normalization'}."
            )

    def on_build(self, view: ModelView, ctx: Context) -> Mapping[str, nn.Module]:
        if not self.size:
            return {}
        return {
            name: GHOSTS[type(module)](module.num_features).take(module, self.size)
            for name, module in view.places(self.on).items()
            if type(module) in GHOSTS
        }

    def describe(self, view: ModelView) -> str:
        names = self.acts_on(view)
        return f"{self.summary}: {', '.join(names)}, parts of {self.size} rows" if self.size else self.summary
