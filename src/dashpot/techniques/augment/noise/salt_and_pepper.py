"""Salt and pepper: some pixels become black or white."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import torch

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.noise import Salt, image_keys
from dashpot.imaging.operations import Operation
from dashpot.techniques.augment.picture import PictureTechnique


class SaltAndPepper(PictureTechnique):
    r"""Make a share of the pixels of each image black or white, all channels of a pixel alike.

    .. math:: \tilde x = 0 \text{ where } u < a / 2, \quad 1 \text{ where } a / 2 \le u < a, \quad u \sim U(0, 1)

    Half of the share becomes 0, half 1 (255 of bytes).

    Args:
        amount: probability of each pixel, in [0, 1]; 0 is off, 0.01 to 0.05 usual.
        p: probability of each image, in [0, 1]; 0 is off.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.SaltAndPepper(amount=1.0).attach(model, optimizer)
        >>> session.batch(torch.full((4, 3, 8, 8), 0.5)).x.unique()
        tensor([0., 1.])

    Paper: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019 (impulse noise).

    When not to use it: small images, of which each pixel counts.
    """

    summary = "makes some pixels black or white"
    order = -20

    amount: Annotated[float, Range(0.0, 1.0, search=(0.005, 0.1), log=True, off=0.0)] = field(
        default=0.02, kw_only=False
    )
    p: Annotated[float, Range(0.0, 1.0, off=0.0)] = 1.0

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.amount == 0 or self.p == 0:
            return ()
        return (Salt(torch.from_numpy(draws.chosen(self.p) * self.amount), image_keys(draws)),)
