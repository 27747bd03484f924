"""Random erasing: erase one rectangle of random size and shape of some images."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
from torch import Tensor

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.boxes import FILLS, Erase, spans
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.noise import image_keys
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class RandomErasing(PictureTechnique):
    r"""Erase one rectangle of random size and shape, inside the image, with probability p.

    .. math:: \tilde x_{ij} = v \text{ where } i \in I \text{ and } j \in J, \text{ else } x_{ij}

    Its share of the area is uniform between ``least`` and ``area``, the logarithm of height by width uniform between
    -log and log of ``ratio``. Sides are cut to the image; the paper and torchvision draw again where they exceed it.
    Labels stay.

    Args:
        p: probability of each image, in [0, 1]; 0 is off, 0.25 to 0.5 usual.
        area: the greatest share of the image, in [0, 1]; 0 is off. 0.33 in torchvision, 0.4 in the paper.
        least: the least share, up to ``area``.
        ratio: the greatest height by width, and width by height, >= 1.
        fill: v, ``"zero"``, ``"mean"`` (of each channel of the image) or ``"noise"`` (uniform over the range, each
            pixel and channel its own). torchvision draws normal noise and expects normalized images; pixels are not
            normalized yet here.

    Raises:
        ConfigError: ``least`` above ``area``.
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.RandomErasing(p=1.0).attach(model, optimizer)
        >>> bool((session.batch(torch.full((4, 3, 8, 8), 0.5)).x != 0.5).flatten(1).any(1).all())
        True

    Paper: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.

    When not to use it: where the label hangs on a small part of the image.
    """

    summary = "erases one rectangle of some images"
    order = -10

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.5, kw_only=False)
    area: Annotated[float, Range(0.0, 1.0, search=(0.1, 0.5), off=0.0)] = 0.33
    least: Annotated[float, Range(0.0, 1.0)] = 0.02
    ratio: Annotated[float, Range(1.0, 100.0)] = 3.3
    fill: Annotated[str, Choice(FILLS)] = "noise"

    def validate(self) -> None:
        if 0 < self.area < self.least:
            raise ConfigError("RandomErasing.least", f"at most area ({self.area:g})", self.least, "Lower it.")

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0 or self.area == 0:
            return ()
        chosen, share, log, at_y, at_x = draws.uniforms(5)
        pixels = (self.least + (self.area - self.least) * share) * (size.height * size.width)
        stretch = np.exp((2 * log - 1) * np.log(self.ratio) / 2)
        marks: list[Tensor] = []
        for at, side, length in ((at_y, stretch, size.height), (at_x, 1 / stretch, size.width)):
            extent = np.clip(np.round(np.sqrt(pixels) * side), 1, length) * (chosen < self.p)
            start = np.floor(at * (length - extent + 1))
            marks.append(spans(start, start + extent, length))
        rows, columns = marks
        return (Erase(rows, columns, image_keys(draws), self.fill),)
