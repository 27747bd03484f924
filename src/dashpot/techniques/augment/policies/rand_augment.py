"""RandAugment: a few operations of a table on each image, all at one magnitude."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.operations import Border, Operation
from dashpot.techniques.augment.picture import PictureTechnique
from dashpot.techniques.augment.policies.tables import RAND_AUGMENT, drawn, step


class RandAugment(PictureTechnique):
    r"""Do a few random operations of a table to each image in turn, all at one magnitude.

    .. math:: \tilde x = o_k(\dots o_1(x)), \quad o_i \sim U\{14\ operations\}

    The table is the paper's, with its greatest values (magnitude 10), either direction by chance: nothing; shear along
    x or y, 0.3; translation along x or y, 150 / 331 of the side, whole pixels; rotation, 30 degrees; brightness,
    contrast, saturation and sharpness by a factor of 1 ± 0.9; posterize to 4 bits; solarize from 0; autocontrast and
    equalize. In the paper's own code a greater magnitude makes posterize and solarize weaker; here, as in
    torchvision, all become stronger. Shear is about the middle, where Pillow's is about a corner. Every image draws
    its own operations, and those of one kind are done together.

    Args:
        count: operations for each image; 0 is off, 1 to 3 usual.
        magnitude: in [0, 10], the same for all operations. torchvision counts to 30: its 9 is 3 here.
        border: what is outside where pixels move: ``"reflect"``, ``"zero"`` or ``"replicate"``. The paper fills with
        grey.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.RandAugment(count=2, magnitude=5).attach(model, optimizer)
        >>> session.batch(torch.zeros(8, 3, 32, 32, dtype=torch.uint8)).x.shape
        torch.Size([8, 3, 32, 32])

    Paper: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", NeurIPS 2020.

    When not to use it: images of which colours, brightness or direction carry the label; few epochs, which need weak
    augmentation.
    """

    summary = "does a few random operations of one magnitude to each image"
    exclusive = ("augmentation policy",)
    preset = Preset("count=1,magnitude=1..8", modalities=("image",), pictures=("photo",), order=37)
    order = -45
    by_itself = False

    count: Annotated[int, Range(0, 16, search=(1, 3), integer=True, off=0)] = field(default=2, kw_only=False)
    magnitude: Annotated[float, Range(0.0, 10.0, search=(1.0, 10.0))] = 5.0
    border: Annotated[Border, Choice(("reflect", "zero", "replicate"))] = "reflect"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        found: list[Operation] = []
        amount = np.full(size.n, self.magnitude / 10)
        for _ in range(self.count):
            which, side = draws.uniforms(2)
            sign = np.where(side < 0.5, -1.0, 1.0)
            found += step(RAND_AUGMENT, drawn(RAND_AUGMENT, which), amount, sign, size, self.border)
        return found
