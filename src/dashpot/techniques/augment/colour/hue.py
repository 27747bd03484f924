"""Hue: turn the colours."""

from dataclasses import field
from typing import Annotated

from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.imaging import colour
from dashpot.imaging.draws import Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.colour.bases import OneAmount


class Hue(OneAmount):
    r"""Turn the colours of each image about the grey axis.

    .. math:: \tilde x = \mathrm{clip}(T^{-1} R(\varphi) T x, 0, 1), \quad \varphi \sim U(-d, d)

    T goes to the YIQ space of colour television, where R turns the plane of colours: a linear map that keeps each
    pixel's grey. Pillow, torchvision and kornia turn the hue of the HSV space, which changes the grey and jumps at
    grey; for small angles the two look alike. Images of other than 3 channels have no hue and stay as they are.

    Args:
        degrees: d in [0, 180]; 0 is off, 5 to 20 usual. torchvision's ``hue=0.05`` is 18 degrees.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Hue(degrees=20).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Howard, "Some Improvements on Deep Convolutional Neural Network Based Image Classification", arXiv 1312.5402.

    When not to use it: where colour tells the class, as of ripe fruit, birds and traffic lights.
    """

    summary = "turns the colours of images"
    order = -40

    degrees: Annotated[float, Range(0.0, 180.0, search=(2.0, 45.0), off=0.0)] = field(default=15.0, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def most(self) -> tuple[float, float]:
        return self.degrees, self.p

    def changed(self, factor: Tensor, size: Size) -> Operation:
        return colour.hue((factor - 1) / 360, size.channels)
