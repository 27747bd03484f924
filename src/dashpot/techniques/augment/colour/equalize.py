"""Equalize: make the histogram of each channel of some images flat."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.imaging.curves import EQUALIZE
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.amounts import curves
from dashpot.techniques.augment.picture import PictureTechnique


class Equalize(PictureTechnique):
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

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.1, kw_only=False)

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0:
            return ()
        return (curves(EQUALIZE, draws.chosen(self.p)),)
