"""Translation: move images sideways, up and down."""

from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Flag, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import moves
from dashpot.techniques.augment.geometry.base import Geometry


class Translation(Geometry):
    r"""Move each image by a random part of its width and of its height.

    .. math:: \tilde x(u) = x(u - d), \quad d \sim U(-f W, f W) \times U(-f H, f H)

    By default moves are rounded to whole pixels: an exact copy, without the blur of interpolation.

    Args:
        fraction: f, the largest move as a part of width and height, in [0, 1]; 0 is off. 0.05 to 0.2 is usual.
        whole: by whole pixels.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Translation(0.25).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 1, 8, 8)).x.shape
        torch.Size([4, 1, 8, 8])

    Paper: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 1998.

    When not to use it: where the place in the picture is the label, or the content touches the edge.
    """

    summary = "moves images by random parts of their size"
    preset = Preset("fraction=0.03..0.15,border=zero", modalities=("image",), pictures=("glyph",), order=32)

    fraction: Annotated[float, Range(0.0, 1.0, search=(0.02, 0.3), off=0.0)] = field(default=0.1, kw_only=False)
    whole: Annotated[bool, Flag()] = True

    def idle(self) -> bool:
        return self.fraction == 0

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        u, v = (2 * draws.uniforms(2) - 1) * self.fraction
        dx, dy = u * size.width, v * size.height
        return moves(np.rint(dx), np.rint(dy)) if self.whole else moves(dx, dy)
