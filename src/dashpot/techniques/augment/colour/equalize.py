"""Equalize: make the histogram of each channel of some images flat."""

from dashpot.imaging.curves import EQUALIZE
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance, curves


class Equalize(ByChance):
    r"""Make the histogram of each channel of an image flat, with probability p.

    .. math:: \tilde x = \lfloor (s / 2 + \#\{y < x\}) / s \rfloor / 255,
        \quad s = \lfloor \#\{y < \max y\} / 255 \rfloor

    By the rule of Pillow's ``ImageOps.equalize``, to the bit; OpenCV's differs by rounding. Numbers in [0, 1] are
    taken to the nearest byte first. A channel of one value stays. Pictures of less than some 255 pixels, which Pillow
    leaves as they are, are equalized as well as rounding allows.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Equalize(p=1.0).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 32, 32)).x.shape
        torch.Size([4, 3, 32, 32])

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: where how bright a pixel is is the measurement.
    """

    summary = "makes the histograms of some images flat"
    order = -35

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        return curves(EQUALIZE, draws.chosen(self.p))
