"""Random resized crop: cut a window of random size out, and make it as large as the picture."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import identity, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.picture import PictureTechnique


def windows(
    area: np.ndarray, ratio: np.ndarray, across: np.ndarray, down: np.ndarray, size: Size, out: tuple[int, int]
) -> np.ndarray:
    """Matrices that read windows: of a part ``area`` of the picture, of width / height ``ratio`` times the picture's
    own, no side longer than the picture's, at the part ``across`` and ``down`` of the room that is left; all [n].

    Pixels are areas: the outer edges of the window become the outer edges of the picture.
    """
    wide = np.minimum(np.sqrt(area * ratio), 1) * size.width
    high = np.minimum(np.sqrt(area / ratio), 1) * size.height
    matrix = identity(len(area))
    for axis, length, side, at, pixels in ((0, size.width, wide, across, out[1]), (1, size.height, high, down, out[0])):
        step = side / pixels
        matrix[:, axis, axis] = step
        matrix[:, axis, 2] = at * (length - side) + step / 2 - 0.5
    return matrix


class RandomResizedCrop(PictureTechnique):
    r"""Cut a window out of each image, of a random size, shape and place, and make it as large as the picture.

    .. math:: \text{area} \sim U(\text{scale}, 1), \quad \log r \sim U(-\log \text{ratio}, \log \text{ratio})

    The window is a part ``area`` of the picture, and its shape r times as wide as the picture's; sides that would be
    longer than the picture's are cut to them (torchvision draws again). Its place is uniform, between pixels too. There
    is no smoothing before a window becomes smaller: a ``size`` below half of the image aliases.

    Args:
        scale: the smallest part of the area, in (0, 1]; 1 is off where ``size`` is None, and else takes the whole
            picture. Papers on ImageNet take 0.08; 0.3 to 0.8 is milder and suits small pictures.
        ratio: the largest stretch of the shape, >= 1.
        size: height and width of what comes out; None: those of the image.
        mode: ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.RandomResizedCrop(scale=0.3, size=24).attach(model, optimizer)
        >>> session.batch(torch.rand(4, 3, 32, 32)).x.shape
        torch.Size([4, 3, 24, 24])

    Paper: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.

    When not to use it: where a part of the picture does not tell the class, or sizes do.
    """

    summary = "crops windows of random sizes and resizes them"
    order = -50

    scale: Annotated[float, Range(0.0, 1.0, search=(0.25, 0.95), off=1.0, open="low")] = field(
        default=0.5, kw_only=False
    )
    ratio: Annotated[float, Range(1.0, 10.0)] = 4 / 3
    size: Annotated[int | None, Range(1, 100_000, integer=True, optional=True)] = None
    mode: Annotated[Literal["bilinear", "nearest"], Choice(("bilinear", "nearest"))] = "bilinear"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.scale == 1 and self.size is None:
            return ()
        area, shape, across, down = draws.uniforms(4)
        area = 1 - (1 - self.scale) * area
        ratio = np.ones(size.n) if self.scale == 1 else self.ratio ** (2 * shape - 1)
        out = (size.height, size.width) if self.size is None else (self.size, self.size)
        matrix = windows(area, ratio, across, down, size, out)
        return (Warp(tensor(matrix), None if self.size is None else out, mode=self.mode),)
