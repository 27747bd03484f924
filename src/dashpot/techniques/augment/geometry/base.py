"""What the techniques that move pixels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import identity, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.picture import PictureTechnique


class Geometry(PictureTechnique):
    """A technique that reads each output pixel of a chosen image at another place, which a matrix names.

    Consecutive ones in a recipe are one sampling where their borders and modes agree; what one of them moved out of the
    picture is then still there for the next.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.
        border: what lies outside of the picture: the picture mirrored without its edge (``"reflect"``), zeros, or the
            edge repeated (``"replicate"``).
        mode: ``"bilinear"`` or ``"nearest"``.
    """

    order = -50

    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0
    border: Annotated[Literal["reflect", "zero", "replicate"], Choice(("reflect", "zero", "replicate"))] = "reflect"
    mode: Annotated[Literal["bilinear", "nearest"], Choice(("bilinear", "nearest"))] = "bilinear"

    def idle(self) -> bool:
        """Whether its strength is at the value at which it does nothing."""
        return False

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        """From output to input pixels for each image, as if all were chosen: float64 [n, 3, 3]."""
        raise NotImplementedError  # each technique defines it

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0 or self.idle():
            return ()
        chosen = draws.chosen(self.p)
        matrix = np.where(chosen[:, None, None], self.matrices(draws, size), identity(size.n))
        return (Warp(tensor(matrix), border=self.border, mode=self.mode),)
