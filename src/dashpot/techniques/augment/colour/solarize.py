"""Solarize: invert the bright pixels of some images."""

from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.imaging.curves import SOLARIZE
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance, curves


class Solarize(ByChance):
    r"""Invert the pixels of an image that are at least as bright as a threshold, with probability p.

    .. math:: \tilde x = x \text{ where } x < t, \text{ else } 1 - x, \quad t \sim U(t_0, 1)

    As Pillow's ``ImageOps.solarize``, whose threshold is a byte; at 1 only white pixels become black.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.
        threshold: t_0 in [0, 1], in units of the pixel range: the least threshold that is drawn; at 0 any
            share of the pixels may be inverted.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Solarize(p=1.0).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: where how bright a pixel is is the measurement.
    """

    summary = "inverts the bright pixels of some images"
    order = -35

    threshold: Annotated[float, Range(0.0, 1.0, search=(0.0, 0.9))] = 0.5

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        chosen, u = draws.uniforms(2)
        return curves(SOLARIZE, chosen < self.p, self.threshold + (1 - self.threshold) * u)
