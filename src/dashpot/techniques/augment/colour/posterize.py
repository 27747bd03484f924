"""Posterize: leave few levels of each channel of some images."""

from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.imaging.curves import POSTERIZE
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance, curves


class Posterize(ByChance):
    r"""Keep only the highest bits of each byte of an image, with probability p.

    .. math:: \tilde x = \lfloor 255 x / 2^{8-b} \rfloor \, 2^{8-b} / 255, \quad b \sim U\{b_0, \dots, 8\}

    As Pillow's ``ImageOps.posterize``. Numbers in [0, 1] are taken to the nearest of 256 levels first, and come out
    as the same levels.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.
        bits: the fewest bits that are kept, 1 to 8; each image draws a whole number from it to 8, at which nothing
            changes.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Posterize(p=1.0, bits=1).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: where fine shades carry the label.
    """

    summary = "leaves few levels of each channel of some images"
    order = -35

    bits: Annotated[int, Range(1, 8, search=(2, 6), integer=True)] = 4

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        chosen, u = draws.uniforms(2)
        return curves(POSTERIZE, chosen < self.p, np.floor(self.bits + (9 - self.bits) * u))
