"""AutoContrast: stretch each channel of some images to the whole range."""

from dashpot.imaging.curves import AUTOCONTRAST
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance, curves


class AutoContrast(ByChance):
    r"""Stretch each channel of an image so that its least value is 0 and its greatest 1, with probability p.

    .. math:: \tilde x = (x - \min x) / (\max x - \min x)

    As Pillow's ``ImageOps.autocontrast`` without a cutoff, which rounds bytes down where this rounds to the nearest.
    A channel of one value stays.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.AutoContrast(p=1.0).attach(model, optimizer)
        >>> session.batch(torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)).x
        tensor([[[[  0, 128, 255]]]], dtype=torch.uint8)

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: where how bright a pixel is is the measurement.
    """

    summary = "stretches each channel of some images to the whole range"
    order = -35

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        return curves(AUTOCONTRAST, draws.chosen(self.p))
