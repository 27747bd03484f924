"""Techniques on images: each says what is done to a picture, and one executor does what all of them say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.requires import Requires
from dashpot.core.running.batch import Batch
from dashpot.core.running.context import Context
from dashpot.core.running.nested import told
from dashpot.core.stacks.stacked import StackedTechnique
from dashpot.core.technique import Technique
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.execute import execute, joined
from dashpot.imaging.operations import Operation


def image_input(x: Any, technique: str) -> Tensor:
    """The input, for a technique on images.

    Raises:
        UsageError: anything but one tensor [batch, channels, height, width] of bytes or floating-point numbers.
    """
    if (
        not isinstance(x, Tensor)
        or x.ndim != 4
        or not (x.dtype == torch.uint8 or x.is_floating_point())
        or 0 in x.shape[1:]
        or x.layout != torch.strided
    ):
        shape = f" of shape {list(x.shape)}" if isinstance(x, Tensor) else ""
        raise UsageError(
            f"{technique} needs images [batch, channels, height, width] of uint8 or floating point, got"
            f" {told(x)}{shape}. Convert them first, or leave {technique} out."
        )
    return x


def operations_of(techniques: Sequence[tuple[PictureTechnique, SampleDraws]], size: Size) -> list[Operation]:
    """What all techniques do to images of this size, in turn."""
    found: list[Operation] = []
    for technique, draws in techniques:
        for operation in technique.operations(draws, size):
            found.append(operation)
            size = operation.resized(size)
    return found


def apply_pictures(pairs: Sequence[tuple[Any, Context]], batch: Batch) -> Batch:
    """Consecutive picture techniques on one batch, as one call of the executor."""
    x = image_input(batch.x, type(pairs[0][0]).__name__)
    size, drawn = Size(*x.shape), []
    for technique, ctx in pairs:
        key, index = ctx.draws().key, batch.index
        drawn.append((technique, SampleDraws(key, size.n, own=ctx.key, index=index, epoch=ctx.epoch)))
    unit = ctx.modality == "image" and x.dtype == torch.uint8
    return batch.replace(x=execute(x, operations_of(drawn, size), unit))


def stacked_pictures(forms: Sequence[StackedTechnique], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Consecutive picture techniques of all members on their batches [member, batch, c, h, w]: members whose operations
    are alike as one batch of images.
    """
    stack, (members, n) = forms[0].stack, x.shape[:2]
    name = next(type(t).__name__ for t in forms[0].techniques if t is not None)
    image_input(x[0], name)
    unit, epoch = stack.pixels and x.dtype == torch.uint8, stack.step // stack.steps_per_epoch
    groups: dict[tuple[Any, ...], list[tuple[int, list[Operation]]]] = {}
    for k in range(members):
        own = [(form.techniques[k], form) for form in forms if form.techniques[k] is not None]
        drawn = []
        for technique, form in own:
            draws = SampleDraws(form.draws(k).key, n, own=int(form.keys[k]), index=stack.index[k], epoch=epoch)
            drawn.append((technique, draws))
        stages = joined(operations_of(drawn, Size(n, *x.shape[2:])))
        groups.setdefault(tuple(stage.signature() for stage in stages), []).append((k, stages))
    found: list[Any] = [None] * members
    for some in groups.values():
        rows = [k for k, _ in some]
        part = x if len(rows) == members else x[rows]
        stages = [type(own[0]).concatenated(own) for own in zip(*(s for _, s in some), strict=True)]
        out = execute(part.flatten(0, 1), stages, unit)
        out = out.view(len(rows), n, *out.shape[1:])
        if len(rows) == members:
            return out, y
        for row, images in zip(rows, out, strict=True):
            found[row] = images
    return torch.stack(found), y


class StackedPictures(StackedTechnique):
    """The form of every picture technique: each member's draws are those it has alone."""

    inherited = True
    together = staticmethod(stacked_pictures)
    takes_bytes = True

    def on_batch(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return stacked_pictures([self], x, y)


class PictureTechnique(Technique):
    """The base class of techniques on images [batch, channels, height, width], of bytes or floating point, on any
    device, in contiguous or channels-last memory.

    A subclass has fields and says in :meth:`operations` what is done to each sample. Sessions hand all consecutive
    picture techniques to the executor at once: what is affine is one sampling, what is linear in colours one product.
    Where the loop says ``modality="image"``, bytes are read once and come out as float32 in [0, 1]; else bytes stay
    bytes. Without ``modality`` values of floating-point images are taken to be in [0, 1] where that matters.

    Class attributes:
        by_itself: what becomes of an image never depends on the others of its batch. It does a little where some images
            have operations that others have not, which then stand between those that are one elsewhere.

    Example:
        >>> import torch, dashpot
        >>> from dashpot.techniques.augment.picture import PictureTechnique
        >>> from dashpot.imaging import matrices
        >>> from dashpot.imaging.operations import Warp
        >>> class UpsideDown(PictureTechnique):
        ...     def operations(self, draws, size):
        ...         chosen = draws.chosen(0.5)
        ...         return [Warp(matrices.tensor(matrices.flips(size, vertical=chosen)))]
        >>> model = torch.nn.Linear(2, 1)
        >>> session = UpsideDown().attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.zeros(8, 3, 4, 4)).x.shape
        torch.Size([8, 3, 4, 4])
    """

    requires = Requires(modality=("image",))
    together = staticmethod(apply_pictures)
    takes_bytes = True
    stacked = StackedPictures
    by_itself: ClassVar[bool] = True

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        """What is done to each of ``size.n`` images of this size, in turn; nothing where it is off.

        Args:
            draws: the random numbers of this batch, on the CPU; call it as often for every value of the fields, and
                before any choice, so that what is drawn later does not shift.
            size: of the images as they come to this technique.
        """
        raise NotImplementedError  # each technique defines it

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        return apply_pictures([(self, ctx)], batch)
