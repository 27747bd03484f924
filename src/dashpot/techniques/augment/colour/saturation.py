"""Saturation: make colours paler or stronger."""

from torch import Tensor

from dashpot.imaging import colour
from dashpot.imaging.draws import Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import OneFactor


class Saturation(OneFactor):
    r"""Make the colours of each image paler or stronger.

    .. math:: \tilde x = \mathrm{clip}(g + f (x - g), 0, 1), \quad f \sim U(1 - s, 1 + s)

    g is the pixel's grey, 0.299 red + 0.587 green + 0.114 blue, as in Pillow's ``ImageEnhance.Color`` and
    torchvision. Of other than 3 channels it is their mean, so that images of one channel stay as they are.

    Colour techniques that follow each other are one linear map, and the result is clipped to the range once;
    torchvision's ColorJitter and Pillow clip and round after each of them.

    Args:
        strength: s in [0, 1]; 0 is off, 0.2 to 0.4 usual.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Saturation(strength=0.5).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Howard, "Some Improvements on Deep Convolutional Neural Network Based Image Classification", arXiv 1312.5402.

    When not to use it: where colour is the label or the measurement, as of stained tissue; where channels are no
    colours."""

    summary = "makes colours paler or stronger"
    order = -40

    def changed(self, factor: Tensor, size: Size) -> Operation:
        return colour.saturation(factor, size.channels)
