"""Invert: turn some images into their negatives."""

import torch

from dashpot.imaging import colour
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance


class Invert(ByChance):
    r"""Turn each image into its negative with probability p.

    .. math:: \tilde x = 1 - x

    Of bytes 255 - x, as Pillow's ``ImageOps.invert``.

    Args:
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Invert(p=1.0).attach(model, optimizer)
        >>> session.batch(torch.tensor([[[[0, 55, 255]]]], dtype=torch.uint8)).x
        tensor([[[[255, 200,   0]]]], dtype=torch.uint8)

    Paper: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", CVPR 2019.

    When not to use it: photographs, of which negatives are never seen; where dark and light differ in meaning.
    """

    summary = "turns some images into their negatives"
    order = -40

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        return colour.invert(torch.from_numpy(draws.chosen(self.p)), size.channels)
