"""GridMask: erase a grid of squares of some images."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.boxes import FILLS, Erase, stripes
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.noise import image_keys
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class GridMask(PictureTechnique):
    r"""Erase a grid of squares of each image.

    .. math:: \tilde x_{ij} = v \text{ where } i \in I \text{ and } j \in J, \text{ else } x_{ij}

    The grid's period d is uniform between ``shortest`` and ``longest`` times the shorter side of the image, its place
    is uniform, and of each period a share ``ratio`` is kept along both axes: squares of side (1 - ratio) d are
    erased, in all about (1 - ratio)² of the image. The paper also turns the grid; its code for ImageNet does not,
    and neither does this. Labels stay.

    Args:
        ratio: share of each period that is kept, in [0, 1]; 1 is off. The paper's best are 0.6 on ImageNet and 0.4 on
            CIFAR-10.
        p: probability of each image, in [0, 1]; 0 is off. The paper raises it from 0 to 0.8 over training:
            ``p="0to0.8"``.
        shortest, longest: bounds of the period, in units of the shorter side, in (0, 1]: 96 and 224 of 224 pixels in
            the paper.
        fill: v, ``"zero"``, ``"mean"`` (of each channel of the image) or ``"noise"`` (uniform over the range, each
            pixel and channel its own).

    Raises:
        ConfigError: ``shortest`` above ``longest``.
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.GridMask(p=1.0).attach(model, optimizer)
        >>> bool((session.batch(torch.ones(4, 3, 16, 16)).x == 0).flatten(1).any(1).all())
        True

    Paper: Chen et al., "GridMask Data Augmentation", arXiv 2001.04086.

    When not to use it: where the label hangs on a small part of the image.
    """

    summary = "erases a grid of squares of each image"
    order = -10

    ratio: Annotated[float, Range(0.0, 1.0, search=(0.4, 0.8), off=1.0)] = field(default=0.6, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, search=(0.2, 0.8), off=0.0)] = 0.7
    shortest: Annotated[float, Range(0.0, 1.0, open="low")] = 0.43
    longest: Annotated[float, Range(0.0, 1.0, open="low")] = 1.0
    fill: Annotated[str, Choice(FILLS)] = "zero"

    def validate(self) -> None:
        if self.shortest > self.longest:
            raise ConfigError("GridMask.shortest", f"at most longest ({self.longest:g})", self.shortest, "Lower it.")

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0 or self.ratio == 1:
            return ()
        chosen, d, at_y, at_x = draws.uniforms(4)
        side = min(size.height, size.width)
        period = np.maximum(np.round((self.shortest + (self.longest - self.shortest) * d) * side), 2)
        gone = np.clip(np.round(period * (1 - self.ratio)), 1, period) * (chosen < self.p)
        marks = [
            stripes(np.floor(at * period), period, gone, length)
            for at, length in ((at_y, size.height), (at_x, size.width))
        ]
        rows, columns = marks
        return (Erase(rows, columns, image_keys(draws), self.fill),)
