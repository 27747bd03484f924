"""What can be done to a batch of images, as data: a technique says it, :mod:`dashpot.imaging.execute` does it.

An operation is a frozen dataclass. Its tensors have the batch as their first axis and are on the CPU, its other fields
hold for all samples. It says how it is done (:meth:`Operation.apply`) and with which later one it is one operation
(:meth:`Operation.join`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dashpot.imaging.draws import Size
from dashpot.imaging.warp import warp

Border = Literal["reflect", "zero", "replicate"]
Mode = Literal["bilinear", "nearest"]


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing that is done to each image of a batch."""

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        """The images that come of ``x`` [n, c, h, w], uint8 or floating point: a new tensor of the same type and memory
        format; with ``unit`` float32 in [0, 1] of bytes. Where ``x`` is ``owned`` it may be written over and returned.
        """
        raise NotImplementedError  # each operation defines it

    def join(self, later: Operation) -> Operation | None:
        """The one operation that does this and then ``later``; None where there is none."""
        return None

    def resized(self, size: Size) -> Size:
        """The size of the images that come of images of ``size``."""
        return size

    def signature(self) -> tuple[Any, ...]:
        """What must agree for the operations of two batches to be done as one."""
        own = [getattr(self, f.name) for f in dataclasses.fields(self)]
        shared = [tuple(v.shape[1:]) if isinstance(v, Tensor) else v for v in own]
        return (type(self), *shared)

    @classmethod
    def concatenated(cls, operations: Sequence[Any]) -> Any:
        """The operations of several batches, of one signature, as that of all their samples in a row."""
        first = operations[0]
        parts: dict[str, Any] = {}
        for f in dataclasses.fields(first):
            values = [getattr(operation, f.name) for operation in operations]
            parts[f.name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
        return type(first)(**parts)


@dataclass(frozen=True, eq=False)
class Warp(Operation):
    """Move pixels: each output pixel is read where ``matrix`` says, between pixels by interpolation.

    Coordinates are (x, y) in pixels, with the centre of the first pixel at (0, 0), as in scipy.ndimage. A sample whose
    matrix moves whole pixels (flips, crops, whole translations) is copied bit for bit.

    Attributes:
        matrix: from homogeneous output coordinates (x, y, 1) to input coordinates, float64 [n, 3, 3].
        size: height and width of the output; None: as the input.
        knots: coefficients of a smooth field that is added to the output coordinates before ``matrix``, in pixels
            (dx, dy): float32 [n, 2, rows, columns], as :mod:`dashpot.imaging.flow` spreads them.
        spacing: of the knots, in pixels.
        border: what lies outside: the image mirrored without its edge (``"reflect"``, torch's name; scipy's "mirror"),
            zeros, or the edge (``"replicate"``). None: nothing outside is read, or no more than half a pixel.
        mode: ``"bilinear"`` or ``"nearest"``; None: all is whole pixels, or it does not matter.
    """

    matrix: Tensor
    size: tuple[int, int] | None = None
    knots: Tensor | None = None
    spacing: float = 0.0
    border: Border | None = None
    mode: Mode | None = None

    def apply(self, x: Tensor, unit: bool = False, owned: bool = False) -> Tensor:
        border, mode = self.border or "replicate", self.mode or "bilinear"
        return warp(x, self.matrix, self.size, self.knots, self.spacing, border=border, mode=mode, unit=unit)

    def join(self, later: Operation) -> Operation | None:
        """Two warps are one sampling where they agree on border and mode, and only the later one has a field. What the
        earlier one moved out of the picture is then still there for the later one.
        """
        if not isinstance(later, Warp) or self.knots is not None:
            return None
        agree = all(a is None or b is None or a == b for a, b in ((self.border, later.border), (self.mode, later.mode)))
        if not agree:
            return None
        return Warp(
            torch.from_numpy(np.matmul(self.matrix.numpy(), later.matrix.numpy())),  # torch's call takes longer
            later.size or self.size,
            later.knots,
            later.spacing,
            self.border or later.border,
            self.mode or later.mode,
        )

    def resized(self, size: Size) -> Size:
        return size if self.size is None else dataclasses.replace(size, height=self.size[0], width=self.size[1])
