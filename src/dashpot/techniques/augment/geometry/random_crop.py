"""Random crop: pad images, and cut a window out at a random place."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

import numpy as np

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import moves, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.picture import PictureTechnique


class RandomCrop(PictureTechnique):
    r"""Pad each image on all sides, and cut a window of its size, or of another, out at a random place.

    .. math:: \tilde x_{i,j} = x_{i + a,\, j + b}, \quad a, b \in \{-\text{padding}, \dots\} \text{ uniform}

    An exact copy of pixels. The padding mirrors the picture by default; torchvision's is black.

    Args:
        padding: on each side, >= 0: below 1 a part of the height and of the width, which means the same for images of
            every size, from 1 on a whole number of pixels; 0 is off where ``size`` is None. 0.125 is usual, 4 pixels
            of 32.
        size: height and width of the window; None: those of the image.
        border: what the padding shows: ``"reflect"``, ``"zero"`` or ``"replicate"``.

    Raises:
        ConfigError: a padding above 1 that is no whole number.
        UsageError: inputs that are not images [batch, channels, height, width].
        DataError: images that are smaller than the window, with their padding.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.RandomCrop(padding=4).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 3, 32, 32)).x.shape
        torch.Size([4, 3, 32, 32])
        >>> str(dashpot.augment.RandomCrop(padding=0.125))
        'RandomCrop(padding=0.125)'

    Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.

    When not to use it: where the place in the picture is the label, or the content touches the edge.
    """

    summary = "pads images and crops them at random places"
    order = -50
    preset = Preset(modalities=("image",), pictures=("photo",), order=33)

    padding: Annotated[float, Range(0.0, 1000.0, search=(0.03, 0.16), off=0.0, fixed=True)] = field(
        default=4.0, kw_only=False
    )
    size: Annotated[int | None, Range(1, 100_000, integer=True, optional=True)] = None
    border: Annotated[Literal["reflect", "zero", "replicate"], Choice(("reflect", "zero", "replicate"))] = "reflect"

    def validate(self) -> None:
        if self.padding > 1 and not self.padding.is_integer():
            raise ConfigError("RandomCrop.padding", "a part below 1, or a whole number of pixels", self.padding)

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        height, width = (size.height, size.width) if self.size is None else (self.size, self.size)
        sides = np.array([size.width, size.height])
        padding = np.rint(self.padding * sides) if self.padding < 1 else np.full(2, self.padding)
        room = sides - (width, height) + 2 * padding
        if room.min() < 0:
            raise DataError(
                f"images must be at least {self.size} pixels high and wide for {self}, with"
                f" {padding.max():g} pixels of padding on each side, got {size.height} x {size.width}. Make size"
                " smaller or padding larger."
            )
        if self.padding == 0 and self.size is None:
            return ()
        at = np.floor(draws.uniforms(2) * (room[:, None] + 1)) - padding[:, None]
        window = None if self.size is None else (height, width)
        return (Warp(tensor(moves(*at)), window, border=self.border if self.padding else None),)
