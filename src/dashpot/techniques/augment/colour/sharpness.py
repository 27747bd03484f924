"""Sharpness: smooth images, or sharpen them."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.filters import Sharpen
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.amounts import factors
from dashpot.techniques.augment.picture import PictureTechnique


class Sharpness(PictureTechnique):
    r"""Smooth each image a little, or sharpen it.

    .. math:: \tilde x = \mathrm{clip}(g + f (x - g), 0, 1), \quad f \sim U(1 - s, 1 + s)

    g is the image smoothed by Pillow's 3x3 filter (5 in the middle, 1 around, by 13), and the pixels of the edge
    stay, as in ``ImageEnhance.Sharpness`` and torchvision; Pillow rounds g to bytes.

    Args:
        strength: s in [0, 1]; 0 is off.
        p: probability of each image; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Sharpness(strength=0.9).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: noisy images, of which the noise is sharpened.
    """

    summary = "smooths or sharpens images"
    order = -30

    strength: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.8), off=0.0)] = field(default=0.3, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.strength == 0 or self.p == 0:
            return ()
        return (Sharpen(factors(draws, self.strength, self.p)),)
