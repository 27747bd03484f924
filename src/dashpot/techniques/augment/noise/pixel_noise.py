"""Pixel noise: Gaussian noise on images, bytes too."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import torch

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.noise import GaussianNoise, image_keys
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class PixelNoise(PictureTechnique):
    r"""Add Gaussian noise to images, each pixel and channel its own, and clip to the range.

    .. math:: \tilde x = \mathrm{clip}(x + \sigma \varepsilon, 0, 1), \quad \varepsilon \sim N(0, 1)

    :class:`~dashpot.InputNoise` is the same for floating-point inputs of any kind, without a clip. This one takes
    bytes too, and is done in one pass with what else is done to the picture.

    Args:
        std: σ >= 0, in units of the pixel range; 0 is off, 0.02 to 0.1 usual.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.PixelNoise(std=0.1).attach(model, optimizer)
        >>> bool((session.batch(torch.full((4, 3, 8, 8), 0.5)).x != 0.5).all())
        True

    Paper: Rusak et al., "A Simple Way to Make Neural Networks Robust Against Diverse Image Corruptions", ECCV 2020.

    When not to use it: where small differences between pixels carry the label.
    """

    summary = "adds Gaussian noise to the pixels"
    order = -20

    std: Annotated[float, Range(0.0, float("inf"), search=(0.01, 0.2), log=True, off=0.0)] = field(
        default=0.05, kw_only=False
    )
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.std == 0 or self.p == 0:
            return ()
        return (GaussianNoise(torch.from_numpy(draws.chosen(self.p) * self.std), image_keys(draws)),)
