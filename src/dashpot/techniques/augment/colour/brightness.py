"""Brightness: make images darker or brighter."""

from torch import Tensor

from dashpot.imaging import colour
from dashpot.imaging.draws import Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import OneFactor


class Brightness(OneFactor):
    r"""Make each image darker or brighter.

    .. math:: \tilde x = \mathrm{clip}(f x, 0, 1), \quad f \sim U(1 - s, 1 + s)

    As Pillow's ``ImageEnhance.Brightness`` and torchvision: a factor, where OpenCV and Keras add a number.

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
        >>> session = dashpot.augment.Brightness(strength=0.5).attach(model, optimizer)
        >>> session.batch(torch.full((4, 1, 2, 2), 0.5)).x.flatten(1).amax(1).unique().numel()
        4

    Paper: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012 (colours
    of images are altered).

    When not to use it: where how bright a pixel is is the measurement, as in radiographs and spectra.
    """

    summary = "makes images darker or brighter"
    order = -40

    def changed(self, factor: Tensor, size: Size) -> Operation:
        return colour.brightness(factor, size.channels)
