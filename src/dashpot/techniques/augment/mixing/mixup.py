"""Mixup: train on blends of pairs of samples."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from dashpot.core.draws import beta_by
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.core.running.batch import float_input
from dashpot.core.stacks.mixing import can_mix, mix_rows
from dashpot.imaging import pairs
from dashpot.techniques.augment.mixing.base import SHARES, Drawn, Mixing, StackedMixing
from dashpot.techniques.augment.mixing.mixed_targets import blend
from dashpot.techniques.augment.mixing.partners import PARTNERS

mixup = blend
"""The function of Mixup: ``share * x + (1 - share) * partner``."""


class StackedMixup(StackedMixing):
    """All members' blends, in C++ where that can."""

    def quick(self, x: Tensor, y: Tensor, drawn: Drawn, classes: int) -> tuple[Tensor, Tensor] | None:
        if not can_mix(x, y) or (classes and y.ndim > 2):
            return None
        order, share = drawn["order"], drawn["share"]
        return mix_rows(x, order, share), mix_rows(y, order, share, classes)


class Mixup(Mixing):
    r"""Train on blends of pairs of samples, and of their targets.

    .. math:: \tilde x = \lambda x_i + (1-\lambda) x_j, \quad
        \tilde y = \lambda y_i + (1-\lambda) y_j, \quad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    One λ for each sample and a random permutation for the pairs; odd batches work and the caller's batch is not
    changed. Integer targets [batch] become class probabilities [batch, classes] (attach with ``classes=``), those of
    positions [batch, ...] become [batch, classes, ...] (with ``targets="classes"``). Float targets, [batch] or
    [batch, k], and yes/no labels (``targets="multilabel"``, also those of one output) are blended as they are. With
    sample weights, each part of a blend counts with the weight of the sample it came from.

    Args:
        alpha: shape of the Beta distribution, >= 0. 0 is off, 0.1 to 0.4 usual, 1 makes λ uniform.
        partner: ``"any"`` sample of the batch; one of the ``"same-class"``, which leaves targets as they are; or of an
            ``"other-class"``. The pairs are a permutation in each case, so that every sample is used twice; a sample
            for which no partner is left stays as it is. The class of a soft target is its most probable one.

    Raises:
        ConflictError: attached with ``ignore_index``, or partners by class where targets are no classes.
        UsageError: inputs that are not one floating-point tensor, masks, or integer targets while the number of classes
            is unknown.
        DataError: codes outside 0 to ``classes`` - 1, or labels outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.Mixup(alpha=0.4).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
        >>> batch = session.batch(torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> batch.y.shape, batch.truth.shape
        (torch.Size([6, 3]), torch.Size([6]))

    Paper: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    When not to use it: where a blend of two inputs means nothing (token ids, one-hot codes of few levels with strong
    interactions), or where calibrated confidence on clean inputs matters more than accuracy. It lowers the best weight
    decay: tune the two together.
    """

    requires = Requires(float_input=True)
    summary = "blends pairs of samples and their targets"
    stacked = StackedMixup
    preset = Preset(modalities=("table", "image", "signal", "tensor"), order=40)
    numbers = ("alpha",)
    centred = False

    alpha: Annotated[float, Range(0.0, float("inf"), search=(0.05, 2.0), log=True, off=0.0)] = field(
        default=0.2, kw_only=False
    )
    partner: Annotated[str, Choice(PARTNERS)] = "any"

    @classmethod
    def input(cls, x: Any) -> Tensor:
        return float_input(x, cls.__name__)

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        return {"share": beta_by(derive_all(keys, SHARES), numbers["alpha"], n)}

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        share = drawn["share"]
        return mixup(x, partner, share.to(x.device, non_blocking=True)), share

    @classmethod
    def paired(cls, x: Tensor, place: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        found = pairs.blended(x, place, drawn["share"])
        return super().paired(x, place, drawn) if found is None else (found, drawn["share"])
