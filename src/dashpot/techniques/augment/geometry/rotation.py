"""Rotation: turn images by random angles."""

from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import rotations
from dashpot.techniques.augment.geometry.base import Geometry


class Rotation(Geometry):
    r"""Turn each image about its middle by an angle of its own.

    .. math:: \tilde x(u) = x\big(c + R_\theta (u - c)\big), \quad \theta \sim U(-\text{degrees}, \text{degrees})

    Positive angles turn counter-clockwise, as in PIL and torchvision; scipy.ndimage.rotate turns the other way. The
    size stays; corners that come in from outside show ``border``, which is black in PIL, torchvision and scipy.

    Args:
        degrees: the largest angle either way, in [0, 180]; 0 is off. 5 to 30 is usual.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Rotation(degrees=20).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> x = torch.rand(4, 3, 16, 16)
        >>> bool((session.batch(x).x != x).any())
        True

    Paper: Simard et al., "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR
    2003.

    When not to use it: where the angle is the label, or large angles turn one class into another (6 and 9).
    """

    summary = "turns images by random angles"
    preset = Preset("degrees=2..20,border=zero", modalities=("image",), pictures=("glyph",), order=33)

    degrees: Annotated[float, Range(0.0, 180.0, search=(2.0, 45.0), off=0.0)] = field(default=15.0, kw_only=False)

    def idle(self) -> bool:
        return self.degrees == 0

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        (u,) = draws.uniforms()
        return rotations((2 * u - 1) * self.degrees, size)
