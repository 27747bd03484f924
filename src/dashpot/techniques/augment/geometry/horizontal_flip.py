"""Horizontal flip: mirror images left for right."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

from dashpot.core.fields.domains import Flag, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import flips, tensor
from dashpot.imaging.operations import Operation, Warp
from dashpot.techniques.augment.picture import PictureTechnique


class HorizontalFlip(PictureTechnique):
    r"""Mirror images left for right, each with probability p.

    .. math:: \tilde x_{i,j} = x_{i,\,W-1-j}

    An exact copy of pixels. With ``alternate`` a sample is drawn once for the whole run: a share p of the images is
    mirrored in the first, third, ... epoch, and the others in the second, fourth, ..., so that no sample is seen the
    same way twice in a row.

    Args:
        p: probability of each image, in [0, 1]; 0 is off. 0.5 is usual.
        alternate: each image is flipped in every second epoch; with p = 0.5 that is half of the images in each. The
            loop must say which samples a batch holds: ``session.batch(x, y, index=rows)``, and call ``session.epoch``;
            ``dashpot.fit`` does both for arrays and tensors.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width]; with ``alternate`` a batch without
            ``index``.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.HorizontalFlip(p=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.tensor([[[[1, 2, 3]]]], dtype=torch.uint8)).x
        tensor([[[[3, 2, 1]]]], dtype=torch.uint8)

    Paper: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012; of
    ``alternate``: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498.

    When not to use it: where left and right differ: digits, letters, text, traffic signs, organs.
    """

    summary = "mirrors images left for right"
    order = -50
    preset = Preset("p=0.5", modalities=("image",), pictures=("photo",), order=32)

    p: Annotated[float, Range(0.0, 1.0, search=(0.2, 0.5), off=0.0)] = field(default=0.5, kw_only=False)
    alternate: Annotated[bool, Flag()] = False

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0:
            return ()
        if self.alternate:
            chosen = (draws.fixed("HorizontalFlip(alternate=True)") < self.p) ^ bool(draws.epoch % 2)
        else:
            chosen = draws.chosen(self.p)
        return (Warp(tensor(flips(size, horizontal=chosen))),)
