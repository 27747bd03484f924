"""Elastic: bend images smoothly."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.flow import knots_of
from dashpot.imaging.matrices import identity, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.geometry.base import Geometry


class Elastic(Geometry):
    r"""Move the pixels of each image by a smooth random field.

    .. math:: \tilde x(u) = x(u + d(u)), \quad d(u) = \alpha \sum_k \varepsilon_k\, \beta^3(u / s - k) / c, \quad
        s = \sqrt 3\, \sigma, \quad \varepsilon \sim N(0, I)

    The bumps β³ are cubic B-splines of standard deviation σ, which are Gaussians but for a few percent and need far
    fewer random numbers; c gives each component of d the standard deviation α. (In Simard's form, noise in [-1, 1]
    smoothed by a Gaussian and multiplied, a factor A gives moves of standard deviation 0.16 A / σ.)

    Args:
        alpha: standard deviation of the moves, >= 0; 0 is off. 2 to 5 % of the width is usual.
        sigma: smoothness, > 0; an eighth of the width is usual. The field folds where alpha is about as large as sigma.
        unit: of both: ``"pixels"``, or ``"side"``, parts of the shorter side, which mean the same for images of every
            size.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Elastic(alpha=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 1, 28, 28)).x.shape
        torch.Size([4, 1, 28, 28])

    Paper: Simard et al., "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR
    2003.

    When not to use it: rigid things. It suits handwriting and tissue.
    """

    summary = "bends images by smooth random fields"
    preset = Preset(
        "alpha=0.01..0.05,sigma=0.13,unit=side,border=zero", modalities=("image",), pictures=("glyph",), order=35
    )
    order = -49  # after all that a matrix describes, so that both are one sampling

    alpha: Annotated[float, Range(0.0, 1000.0, search=(0.2, 4.0), log=True, off=0.0)] = field(
        default=1.0, kw_only=False
    )
    sigma: Annotated[float, Range(0.0, 1000.0, search=(2.0, 8.0), log=True, open="low")] = 4.0
    unit: Annotated[Literal["pixels", "side"], Choice(("pixels", "side"))] = "pixels"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0 or self.alpha == 0:
            return ()
        chosen = draws.chosen(self.p)
        pixels = min(size.height, size.width) if self.unit == "side" else 1
        high, wide, spacing = knots_of(size.height, size.width, self.sigma * pixels)
        knots = draws.normal((size.n, 2, high, wide)) * (self.alpha * pixels)
        knots = knots * tensor(chosen.astype(np.float32))[:, None, None, None]
        still = tensor(identity(size.n))
        return (Warp(still, knots=knots, spacing=spacing, border=self.border, mode=self.mode),)
