"""Blur: Gaussian blur by a random width."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import torch

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.filters import Blur as GaussianBlur
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class Blur(PictureTechnique):
    r"""Blur images by a Gaussian of random width, each image with probability p.

    .. math:: \tilde x = x * N(0, s^2), \quad s \sim U(0, \sigma)

    Weights reach as far as 3 s (rounded up) and sum to 1; outside, the image is mirrored without its edge.
    torchvision takes the number of weights as an argument; Pillow approximates by boxes; scipy reaches 4 s.

    Args:
        sigma: the greatest width in pixels, >= 0; 0 is off, 1 to 2 usual.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Blur(sigma=2.0, p=1.0).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    When not to use it: images of a few pixels, and where texture tells the class.
    """

    summary = "blurs images"
    order = -30

    sigma: Annotated[float, Range(0.0, 100.0, search=(0.3, 2.0), off=0.0)] = field(default=1.0, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.5), off=0.0)] = 0.5

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.sigma == 0 or self.p == 0:
            return ()
        chosen, u = draws.uniforms(2)
        return (GaussianBlur(torch.from_numpy((chosen < self.p) * self.sigma * u)),)
