"""Cutout: erase one square of each image."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
from torch import Tensor

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.imaging.boxes import FILLS, Erase, spans
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.noise import image_keys
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class Cutout(PictureTechnique):
    r"""Erase one square of each image.

    .. math:: \tilde x_{ij} = v \text{ where } i \in I \text{ and } j \in J, \text{ else } x_{ij}

    Its centre is any pixel of the image; what lies outside is cut off, so that of the square's area between a quarter
    and all is erased. Labels stay.

    Args:
        fraction: the square's side by the shorter side of the image, in [0, 1]; 0 is off. The paper's 16 pixels of
            CIFAR-10's 32 are 0.5, and 8 of CIFAR-100's 0.25.
        p: probability of each image, in [0, 1]; 0 is off.
        fill: v, ``"zero"``, ``"mean"`` (of each channel of the image) or ``"noise"`` (uniform over the range, each
            pixel and channel its own). The paper fills with 0 after normalization: the mean of all images, to which
            ``"mean"`` is closest.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.Cutout(fraction=0.5, fill="zero").attach(model, optimizer)
        >>> bool((session.batch(torch.ones(4, 3, 8, 8)).x == 0).flatten(1).any(1).all())
        True

    Paper: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv 1708.04552.

    When not to use it: where the label hangs on a small part of the image, such as one lesion.
    """

    summary = "erases one square of each image"
    order = -10
    preset = Preset("fraction=0.1..0.5", modalities=("image",), pictures=("photo",), order=36)

    fraction: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.6), off=0.0)] = field(default=0.5, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0
    fill: Annotated[str, Choice(FILLS)] = "mean"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.fraction == 0 or self.p == 0:
            return ()
        chosen, at_y, at_x = draws.uniforms(3)
        side = round(self.fraction * min(size.height, size.width)) * (chosen < self.p)
        marks: list[Tensor] = []
        for at, length in ((at_y, size.height), (at_x, size.width)):
            start = np.floor(at * length) - side // 2
            marks.append(spans(start, start + side, length))
        rows, columns = marks
        return (Erase(rows, columns, image_keys(draws), self.fill),)
