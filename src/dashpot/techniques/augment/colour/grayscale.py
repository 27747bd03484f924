"""Grayscale: make some images grey."""

import torch

from dashpot.imaging import colour
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import ByChance


class Grayscale(ByChance):
    r"""Make each image grey with probability p; it keeps its channels.

    .. math:: \tilde x_c = 0.299 x_r + 0.587 x_g + 0.114 x_b

    As Pillow's ``convert("L")`` and torchvision. Of other than 3 channels the grey is their mean, so that images of one
    channel stay as they are.

    Args:
        p: probability of each image, in [0, 1]; 0 is off, 0.1 to 0.2 usual.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Grayscale(p=1.0).attach(model, optimizer)
        >>> session.batch(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).x.flatten()
        tensor([76, 76, 76], dtype=torch.uint8)

    Paper: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    When not to use it: where colour tells the class; where channels are no colours.
    """

    summary = "makes some images grey"
    order = -40

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        return colour.grayscale(torch.from_numpy(draws.chosen(self.p)), size.channels)
