"""What techniques on colours share: a factor for each image, or a chance for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from dashpot.core.fields.domains import Range
from dashpot.imaging.curves import NONE, Curve
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


def factors(draws: SampleDraws, strength: float, p: float) -> Tensor:
    """Of each image a factor that is uniform in [1 - strength, 1 + strength] with probability ``p``, else 1; float64
    [n].
    """
    chosen, u = draws.uniforms(2)
    return torch.from_numpy(np.where(chosen < p, 1 + strength * (2 * u - 1), 1.0))


def curves(kind: int, chosen: np.ndarray, level: np.ndarray | None = None) -> Curve:
    """One kind of curve on the chosen images (bool [n]), each at its level."""
    levels = np.zeros(len(chosen)) if level is None else level
    return Curve(torch.from_numpy(np.where(chosen, kind, NONE)), torch.from_numpy(levels.astype(np.float32)))


class OneAmount(PictureTechnique):
    """The base class of techniques that change each image by an amount of its own, which may be as large as one of
    their fields says.
    """

    def most(self) -> tuple[float, float]:
        """The greatest change of the factor 1, and the probability of each image."""
        raise NotImplementedError  # each technique defines it

    def changed(self, factor: Tensor, size: Size) -> Operation:
        """What is done to images by these factors, float64 [n], 1 where nothing is done."""
        raise NotImplementedError  # each technique defines it

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        strength, p = self.most()
        return (self.changed(factors(draws, strength, p), size),) if strength != 0 and p != 0 else ()


class OneFactor(OneAmount):
    """The base class of those whose amount is a factor from 1 - strength to 1 + strength."""

    strength: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.8), off=0.0)] = field(default=0.3, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def most(self) -> tuple[float, float]:
        return self.strength, self.p


class ByChance(PictureTechnique):
    """The base class of techniques that change some images, each with probability p, and leave the others."""

    p: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.5), off=0.0)] = field(default=0.1, kw_only=False)

    def changed(self, draws: SampleDraws, size: Size) -> Operation:
        """What is done to the images that it draws with probability ``p``."""
        raise NotImplementedError  # each technique defines it

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        return (self.changed(draws, size),) if self.p != 0 else ()
