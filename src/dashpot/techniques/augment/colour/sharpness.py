"""Sharpness: smooth images, or sharpen them."""

from torch import Tensor

from dashpot.imaging.draws import Size
from dashpot.imaging.filters import Sharpen
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import OneFactor


class Sharpness(OneFactor):
    r"""Smooth each image a little, or sharpen it.

    .. math:: \tilde x = \mathrm{clip}(g + f (x - g), 0, 1), \quad f \sim U(1 - s, 1 + s)

    g is the image smoothed by Pillow's 3x3 filter (5 in the middle, 1 around, by 13), and the pixels of the edge
    stay, as in ``ImageEnhance.Sharpness`` and torchvision; Pillow rounds g to bytes.

    Args:
        strength: s in [0, 1]; 0 is off.
        p: probability of each image, in [0, 1]; 0 is off.

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

    def changed(self, factor: Tensor, size: Size) -> Operation:
        return Sharpen(factor)
