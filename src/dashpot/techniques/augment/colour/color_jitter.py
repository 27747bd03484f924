"""Color jitter: change brightness, contrast and saturation together."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
import torch

from dashpot.core.fields.domains import Range
from dashpot.core.preset import Preset
from dashpot.imaging import colour
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class ColorJitter(PictureTechnique):
    r"""Change brightness, contrast and saturation of each image, each by a factor of its own, and turn its hue if
    asked to.

    .. math:: \tilde x = \mathrm{clip}(H_\varphi\, S_s\, C_c\, B_b\, x, 0, 1), \quad
        b, c, s \sim U(1 - f, 1 + f), \quad \varphi \sim U(-d, d)

    As :class:`Brightness`, :class:`Contrast`, :class:`Saturation` and :class:`Hue` in turn, with one strength for the
    three factors, as timm's ``--color-jitter``; all four are one linear map, and the result is clipped once.
    torchvision takes a strength for each, draws their order, and clips after each. Images of one channel have no
    saturation.

    Args:
        strength: f in [0, 1], the greatest change of the factors; 0 is off, and then the hue stays, too. 0.2 to 0.4 is
            usual.
        degrees: d in [0, 180], the greatest turn of the hue; 0 (the default) is none. torchvision's ``hue=0.05`` is 18
            degrees.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.ColorJitter(0.4).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 8, 8)).x.shape
        torch.Size([4, 3, 8, 8])

    Paper: Howard, "Some Improvements on Deep Convolutional Neural Network Based Image Classification", arXiv 1312.5402.

    When not to use it: where colour or brightness is the label or the measurement.
    """

    summary = "changes brightness, contrast and saturation of images"
    order = -40
    preset = Preset("strength=0.05..0.4", modalities=("image",), pictures=("photo",), order=35)

    strength: Annotated[float, Range(0.0, 1.0, search=(0.05, 0.8), off=0.0)] = field(default=0.3, kw_only=False)
    degrees: Annotated[float, Range(0.0, 180.0)] = 0.0
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.strength == 0 or self.p == 0:
            return ()
        chosen, *drawn = draws.uniforms(5)
        on = chosen < self.p
        light, flat, pale = (torch.from_numpy(np.where(on, 1 + self.strength * (2 * u - 1), 1.0)) for u in drawn[:3])
        found = [colour.brightness(light, size.channels), colour.contrast(flat, size.channels)]
        if size.channels > 1:
            found.append(colour.saturation(pale, size.channels))
        if self.degrees:
            turn = torch.from_numpy(np.where(on, self.degrees * (2 * drawn[3] - 1) / 360, 0.0))
            found.append(colour.hue(turn, size.channels))
        return found
