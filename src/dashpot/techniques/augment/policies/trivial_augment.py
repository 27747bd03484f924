"""TrivialAugment: one operation of a wide table on each image, at a random strength."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Border, Operation
from dashpot.techniques.augment.picture import PictureTechnique
from dashpot.techniques.augment.policies.tables import TRIVIAL_AUGMENT, drawn, step


class TrivialAugment(PictureTechnique):
    r"""Do one random operation of a wide table to each image, at a random strength; there is nothing to tune.

    .. math:: \tilde x = o(x, m), \quad o \sim U\{14\ operations\}, \quad m \sim U\{0, 1/30, \dots, 1\}

    The paper's wide table, with its greatest values, either direction by chance: nothing; shear along x or y, 0.99;
    translation along x or y, 32 pixels (and no more than the side of the image); rotation, 135 degrees; brightness,
    contrast, saturation and sharpness by a factor of 1 ± 0.99; posterize to 2 bits; solarize from 0; autocontrast and
    equalize. Shear is about the middle, where Pillow's is about a corner.

    Args:
        p: probability of each image, in [0, 1]; 0 is off. The paper's is 1.
        border: what is outside where pixels move: ``"reflect"``, ``"zero"`` or ``"replicate"``. The paper fills with
        black.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.TrivialAugment().attach(model, optimizer)
        >>> session.batch(torch.zeros(8, 3, 32, 32, dtype=torch.uint8)).x.shape
        torch.Size([8, 3, 32, 32])

    Paper: Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", ICCV 2021.

    When not to use it: images of which colours, brightness or direction carry the label; few epochs, which need weak
    augmentation.
    """

    summary = "does one random operation of random strength to each image"
    exclusive = ("augmentation policy",)
    order = -45
    by_itself = False

    p: Annotated[float, Range(0.0, 1.0, search=(0.3, 1.0), off=0.0)] = field(default=1.0, kw_only=False)
    border: Annotated[Border, Choice(("reflect", "zero", "replicate"))] = "reflect"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0:
            return ()
        chosen, which, strength, side = draws.uniforms(4)
        place = np.where(chosen < self.p, drawn(TRIVIAL_AUGMENT, which), 0)
        sign = np.where(side < 0.5, -1.0, 1.0)
        return step(TRIVIAL_AUGMENT, place, np.floor(strength * 31) / 30, sign, size, self.border)
