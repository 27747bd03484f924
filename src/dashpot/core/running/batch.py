"""``Batch``: input, target, weights and mask of one micro-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dashpot.core.errors import DashpotError, DataError, UsageError
from dashpot.core.running.nested import map_tensors, moved, told
from dashpot.core.running.targets import to_loss


@dataclass(frozen=True)
class Batch:
    """One micro-batch. It unpacks as ``x, y``.

    ``y`` is the target for the loss, possibly mixed or soft; ``truth`` is the target as it came, for training metrics.
    A loader's ``collate_fn`` may return it: its tensors are pinned and moved wherever they stand in dicts, tuples and
    lists.

    Attributes:
        x: the input: a tensor [batch, ...], or tensors in dicts, tuples and lists.
        y: the target for the loss: integer classes [batch, ...], class probabilities [batch, classes, ...], values, or
            any structure that the criterion takes.
        truth: the untouched target; by default ``y``.
        weight: sample weights [batch], or ``None``. A row of weight 0 is absent, one of weight 2 counts twice.
        mask: which positions count: bool [batch, positions, ...], true where they do; or whole numbers [batch], how
            many positions of each sequence do. ``None``: all.
        index: the place of each sample in the training data, int64 [batch], or ``None``: not known.

    Example:
        >>> import torch, dashpot
        >>> y = torch.tensor([0.0, 1.0])
        >>> batch = dashpot.Batch(torch.zeros(2, 3), y)
        >>> softer = batch.replace(y=0.9 * batch.y)
        >>> softer.y, softer.truth
        (tensor([0.0000, 0.9000]), tensor([0., 1.]))
        >>> x, y = batch.to("cpu")
    """

    x: Any
    y: Any = None
    truth: Any = None
    weight: Tensor | None = None
    mask: Tensor | None = None
    index: Tensor | None = None

    def __post_init__(self) -> None:
        if self.truth is None:
            object.__setattr__(self, "truth", self.y)

    def __iter__(self) -> Iterator[Any]:
        yield self.x
        yield self.y

    def replace(self, **changes: Any) -> Batch:
        """A copy with some fields changed; ``truth`` cannot be."""
        return type(self)(**{**vars(self), **changes})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same on ``device``, however deep its tensors lie."""
        parts = {
            name: moved(getattr(self, name), device, non_blocking)
            for name in ("x", "y", "truth", "weight", "mask", "index")
        }
        return Batch(**{**parts, "truth": parts["y"] if self.truth is self.y else parts["truth"]})

    def pin_memory(self) -> Batch:
        """The same in page-locked memory; a DataLoader with ``pin_memory=True`` calls it."""
        parts = {
            name: map_tensors(lambda part: part.pin_memory(), getattr(self, name))
            for name in ("x", "y", "truth", "weight", "mask", "index")
        }
        return Batch(**{**parts, "truth": parts["y"] if self.truth is self.y else parts["truth"]})


def unit_range(x: Any) -> Any:
    """Pixels as bytes (uint8, 0 to 255) as float32 in [0, 1]; anything else is returned as it is.

    >>> unit_range(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return x.float().div_(255) if isinstance(x, Tensor) and x.dtype == torch.uint8 else x


def make_batch(
    x: Any,
    y: Any,
    weight: Tensor | None,
    mask: Tensor | None,
    lengths: Tensor | None,
    index: Tensor | None = None,
) -> Batch:
    """The batch of :meth:`Session.batch`'s arguments.

    Raises:
        UsageError: a batch and parts of one, or a mask and lengths.
        DataError: a mask, lengths or an index that are none.
    """
    if isinstance(x, Batch):
        if any(part is not None for part in (y, weight, mask, lengths, index)):
            raise UsageError("session.batch takes a Batch, or x and y; a Batch brings its own target, weight and mask.")
        return x
    if lengths is not None:
        if mask is not None:
            raise UsageError("session.batch takes a mask or lengths, not both.")
        whole = isinstance(lengths, Tensor) and not (lengths.is_floating_point() or lengths.dtype is torch.bool)
        if not whole or lengths.ndim != 1:
            raise DataError(f"lengths must be whole numbers [batch], one for each sequence, got {told(lengths)}.")
        mask = lengths
    elif mask is not None:
        if not isinstance(mask, Tensor):
            raise DataError(f"mask must be a tensor [batch, positions], true where one counts, got {told(mask)}.")
        mask = mask.bool()
    if index is not None and (not isinstance(index, Tensor) or index.ndim != 1 or index.dtype.is_floating_point):
        raise DataError(
            f"index must be whole numbers [batch], the place of each sample in the data, got {told(index)}."
        )
    return Batch(x, y, y, weight, mask, index)


def float_input(x: Any, technique: str, error: type[DashpotError] = UsageError) -> Tensor:
    """The input, for a technique that changes it: one floating-point tensor.

    Raises:
        UsageError: anything else, with the technique and the input named; or the ``error`` that is given, before work.
    """
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        raise error(
            f"{technique} needs a floating-point input tensor, got {told(x)}. Convert it first, act on embeddings"
            f" instead, or leave {technique} out."
        )
    return x


def weights_for(per_sample: Tensor, batch: Batch | None, truth: Any, ignore_index: int | None) -> Tensor | None:
    """The weight of each position of a per-sample loss [batch, ...]: the sample's, and 0 where the mask or
    ``ignore_index`` leaves it out; None where all are equal.

    Raises:
        UsageError: a target that is needed and not known, or weights or a mask of another batch.
    """
    sample, mask = (None, None) if batch is None else (batch.weight, batch.mask)
    if sample is None and mask is None and ignore_index is None:
        return None
    weight = torch.ones_like(per_sample)
    if sample is not None:
        weight = weight * _rows(sample, per_sample, truth)
    if mask is not None:
        weight = weight * _positions(mask, per_sample)
    if ignore_index is not None:
        if not isinstance(truth, Tensor):
            raise UsageError(
                f"ignore_index={ignore_index} needs the target. Call session.batch(x, y) first, or"
                " session.loss(criterion, out, target)."
            )
        # Class probabilities have an axis more, and no class that is ignored.
        if not truth.is_floating_point() or truth.numel() == per_sample.numel():
            weight = weight * to_loss(truth != ignore_index, per_sample, "a target").to(weight.device)
    return weight


def _rows(sample: Tensor, per_sample: Tensor, truth: Any) -> Tensor:
    """The samples' weights in the shape of the loss; of positions that are flattened, each has its sample's."""
    sample = sample.to(per_sample)
    many = isinstance(truth, Tensor) and truth.ndim > 1 and truth.numel() == per_sample.numel() and per_sample.ndim == 1
    if many and sample.numel() == len(truth) != len(per_sample):
        return sample.reshape(-1, *[1] * (truth.ndim - 1)).expand(truth.shape).reshape(-1)
    if sample.numel() != len(per_sample):
        raise UsageError(
            f"the loss has {len(per_sample)} samples and the batch {sample.numel()} weights. Pass each batch through"
            " session.batch before its loss."
        )
    return sample.reshape(-1, *[1] * (per_sample.ndim - 1))


def _positions(mask: Tensor, per_sample: Tensor) -> Tensor:
    """The mask, or the lengths, in the shape of the loss."""
    mask = mask.to(per_sample.device)
    if mask.dtype is not torch.bool:
        if per_sample.ndim < 2 or len(mask) != len(per_sample):
            raise UsageError(
                f"{len(mask)} lengths need a loss [batch, positions], got {list(per_sample.shape)}. Compute it with"
                ' reduction="none", batch first.'
            )
        mask = torch.arange(per_sample.shape[1], device=mask.device) < mask[:, None]
    return to_loss(mask, per_sample, "a mask")


def reduced(
    per_sample: Tensor,
    weight: Tensor | None,
    reduction: str = "mean",
    count: Tensor | None = None,
    total: float | Tensor | None = None,
) -> Tensor:
    """A per-sample loss as one number; positions of weight 0 count nothing, whatever stands there.

    Args:
        per_sample: [batch, ...].
        weight: of its shape, or broadcast to it.
        reduction: ``"mean"``, over all positions; ``"sum"``; or ``"batchmean"``, the sum by the number of samples.
        count: what each position adds to the divisor of a mean, where that is not its weight.
        total: a divisor in place of the weights' sum.
    """
    if weight is None:
        if reduction == "mean" and count is None and total is None:
            return per_sample.mean()
        weight = torch.ones_like(per_sample)
    weight = weight.expand_as(per_sample)
    value = (per_sample * weight).masked_fill(weight == 0, 0).sum()
    if total is not None:
        return value / total
    if reduction == "sum":
        return value
    if reduction == "batchmean":
        divisor = weight.flatten(1).amax(dim=1).sum() if weight.ndim > 1 else weight.sum()
    else:
        divisor = (weight if count is None else count).sum()
    return value / divisor.clamp(min=torch.finfo(weight.dtype).tiny)
