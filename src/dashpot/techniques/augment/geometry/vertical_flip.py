"""Vertical flip: turn images upside down."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import flips, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.picture import PictureTechnique


class VerticalFlip(PictureTechnique):
    r"""Mirror images top for bottom, each with probability p.

    .. math:: \tilde x_{i,j} = x_{H-1-i,\,j}

    An exact copy of pixels.

    Args:
        p: probability of each image, in [0, 1]; 0 is off. 0.5 is usual.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.VerticalFlip(p=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.tensor([[[[1], [2], [3]]]], dtype=torch.uint8)).x.flatten()
        tensor([3, 2, 1], dtype=torch.uint8)

    Paper: Shorten and Khoshgoftaar, "A survey on Image Data Augmentation for Deep Learning", Journal of Big Data 2019.

    When not to use it: where up and down differ, as in most photos. It suits what is seen from above: satellites,
    microscopes, dishes of cells.
    """

    summary = "mirrors images top for bottom"
    order = -50

    p: Annotated[float, Range(0.0, 1.0, search=(0.2, 0.5), off=0.0)] = field(default=0.5, kw_only=False)

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0:
            return ()
        return (Warp(tensor(flips(size, vertical=draws.chosen(self.p)))),)
