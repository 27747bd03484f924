"""Zoom: make images larger or smaller."""

from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import zooms
from dashpot.techniques.augment.geometry.base import Geometry


class Zoom(Geometry):
    r"""Make what each image shows larger or smaller by a factor of its own, about its middle.

    .. math:: \tilde x(u) = x\big(c + (u - c) / s\big), \quad \log s \sim U(-\log(1 + a), \log(1 + a))

    The size of the picture stays. Halving and doubling are equally likely. There is no smoothing before an image
    becomes smaller: factors below 1/2 alias.

    Args:
        scale: a >= 0: factors lie between 1 / (1 + a) and 1 + a; 0 is off. 0.1 to 0.3 is usual.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Zoom(scale=0.3).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 1, 8, 8)).x.shape
        torch.Size([4, 1, 8, 8])

    Paper: Ciresan et al., "Deep, Big, Simple Neural Nets for Handwritten Digit Recognition", Neural Computation 2010.

    When not to use it: where the size in the picture is the label, as in microscopy at one scale.
    """

    summary = "makes images larger or smaller"
    preset = Preset("scale=0.03..0.25,border=zero", modalities=("image",), pictures=("glyph",), order=34)

    scale: Annotated[float, Range(0.0, 9.0, search=(0.05, 0.5), off=0.0)] = field(default=0.2, kw_only=False)

    def idle(self) -> bool:
        return self.scale == 0

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        (u,) = draws.uniforms()
        factor = (1 + self.scale) ** (2 * u - 1)
        return zooms(factor, factor, size)
