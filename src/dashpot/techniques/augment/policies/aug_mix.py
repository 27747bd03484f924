"""AugMix: each image blended with the mean of several chains of operations on it."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated

import numpy as np
import torch

from dashpot.core.fields.domains import Choice, Range
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.mixture import Mixture
from dashpot.imaging.operations import Border, Operation
from dashpot.techniques.augment.picture import PictureTechnique
from dashpot.techniques.augment.policies.tables import AUG_MIX, drawn, step

DEPTH = 3
"""Operations of a chain, at most; each has one to so many."""


class AugMix(PictureTechnique):
    r"""Blend each image with a random mean of several chains of random operations on it.

    .. math:: \tilde x = (1 - m) x + m \sum_i w_i \, c_i(x), \quad m \sim U(0, 1), \quad
        w \sim \mathrm{Dirichlet}(1, \dots, 1)

    A chain c is one to three operations of the paper's table, of which colours and sharpness are left out, since tests
    of robustness have them: shear along x or y, 0.3; translation along x or y, a third of the side, whole pixels;
    rotation, 30 degrees; posterize from 4 bits; solarize; autocontrast and equalize. Each has an amount of its own,
    uniform between 0.1 and ``severity``, of 10, either direction by chance. The paper's loss that asks three versions
    of an image for one answer (Jensen-Shannon) is not part of it.

    Args:
        severity: in [0.1, 10]; 3 in the paper.
        chains: how many; 3 in the paper.
        p: probability of each image, in [0, 1]; 0 is off.
        border: what is outside where pixels move: ``"reflect"``, ``"zero"`` or ``"replicate"``. The paper fills with
        black.

    Raises:
        UsageError: inputs that are not images [batch, channels, height, width].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> session = dashpot.augment.AugMix(severity=3).attach(model, optimizer)
        >>> session.batch(torch.zeros(8, 3, 32, 32, dtype=torch.uint8)).x.shape
        torch.Size([8, 3, 32, 32])

    Paper: Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", ICLR 2020.

    When not to use it: where an image must stay sharp: blends of moved copies have shadows.
    """

    summary = "blends each image with chains of random operations on it"
    exclusive = ("augmentation policy",)
    order = -45
    by_itself = False

    severity: Annotated[float, Range(0.1, 10.0, search=(1.0, 5.0))] = field(default=3.0, kw_only=False)
    chains: Annotated[int, Range(1, 16, integer=True)] = 3
    p: Annotated[float, Range(0.0, 1.0, search=(0.3, 1.0), off=0.0)] = 1.0
    border: Annotated[Border, Choice(("reflect", "zero", "replicate"))] = "reflect"

    def operations(self, draws: SampleDraws, size: Size) -> Sequence[Operation]:
        if self.p == 0:
            return ()
        chosen, blend = draws.uniforms(2)
        shares = -np.log1p(-draws.uniforms(self.chains)) + 1e-12  # exponential: their shares are Dirichlet's
        blend = np.where(chosen < self.p, blend, 0)
        weights = np.stack([1 - blend, *(blend * shares / shares.sum(0))], axis=1)
        return (Mixture(torch.from_numpy(weights), tuple(self._chain(draws, size) for _ in range(self.chains))),)

    def _chain(self, draws: SampleDraws, size: Size) -> tuple[Operation, ...]:
        found: list[Operation] = []
        length = np.floor(draws.uniforms(1)[0] * DEPTH)
        for number in range(DEPTH):
            which, level, side = draws.uniforms(3)
            place = np.where(number <= length, drawn(AUG_MIX, which, first=1), 0)
            amount = (0.1 + (self.severity - 0.1) * level) / 10
            found += step(AUG_MIX, place, amount, np.where(side < 0.5, -1.0, 1.0), size, self.border)
        return tuple(found)
