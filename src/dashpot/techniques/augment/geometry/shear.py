"""Shear: slant images."""

from dataclasses import field
from typing import Annotated, Literal

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import shears
from dashpot.techniques.augment.geometry.base import Geometry


class Shear(Geometry):
    r"""Push the rows of each image sideways, or its columns up and down, by their distance from its middle.

    .. math:: \tilde x(u, v) = x(u + \tan\theta\,(v - c_v),\, v), \quad \theta \sim U(-\text{degrees}, \text{degrees})

    Args:
        degrees: the largest angle of slant either way, in [0, 60]; 0 is off. 5 to 15 is usual.
        axis: ``"x"`` slants as italics do, ``"y"`` pushes columns, ``"both"`` does both, each with an angle of its own.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Shear(degrees=10).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 1, 8, 8)).x.shape
        torch.Size([4, 1, 8, 8])

    Paper: Ciresan et al., "Deep, Big, Simple Neural Nets for Handwritten Digit Recognition", Neural Computation 2010.

    When not to use it: where angles between edges matter, as in technical drawings.
    """

    summary = "slants images by random angles"

    degrees: Annotated[float, Range(0.0, 60.0, search=(2.0, 25.0), off=0.0)] = field(default=10.0, kw_only=False)
    axis: Annotated[Literal["x", "y", "both"], Choice(("x", "y", "both"))] = "x"

    def idle(self) -> bool:
        return self.degrees == 0

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        along_x, along_y = (2 * draws.uniforms(2) - 1) * self.degrees
        return shears(along_x * (self.axis != "y"), along_y * (self.axis != "x"), size)
