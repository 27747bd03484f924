"""Perspective: look at images from aside."""

from dataclasses import field
from typing import Annotated

import numpy as np

from dashpot.core.fields.domains import Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.matrices import quadrilaterals
from dashpot.techniques.augment.geometry.base import Geometry


class Perspective(Geometry):
    r"""Show each image as if seen from aside: its four corners move inwards, each by a draw of its own.

    .. math:: \tilde x(u, v) = x\!\left(\frac{a u + b v + c}{g u + h v + 1},\,
        \frac{d u + e v + f}{g u + h v + 1}\right)

    Each corner moves by up to ``distortion`` of half the width and half the height, as torchvision's RandomPerspective
    does, whose outside is black.

    Args:
        distortion: in [0, 0.9]; 0 is off. 0.1 to 0.4 is usual.
        p: probability of each image, in [0, 1]; 0 is off.
        border, mode: what lies outside (``"reflect"``, ``"zero"``, ``"replicate"``); ``"bilinear"`` or ``"nearest"``.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> session = dashpot.augment.Perspective(0.3).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> session.batch(torch.rand(4, 1, 8, 8)).x.shape
        torch.Size([4, 1, 8, 8])

    Paper: Wang et al., "A Perspective Data Augmentation for Person Re-identification", arXiv 1910.04005 (the idea);
    Hartley and Zisserman, "Multiple View Geometry in Computer Vision", 2004 (the map).

    When not to use it: scans, and whatever is always seen from the front.
    """

    summary = "shows images as if seen from aside"

    distortion: Annotated[float, Range(0.0, 0.9, search=(0.05, 0.5), off=0.0)] = field(default=0.3, kw_only=False)

    def idle(self) -> bool:
        return self.distortion == 0

    def matrices(self, draws: SampleDraws, size: Size) -> np.ndarray:
        inwards = draws.uniforms(8).T.reshape(-1, 4, 2) * self.distortion / 2
        return quadrilaterals(inwards, size)
