"""RandomMix: each image is mixed in one of several ways."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.errors import ConfigError, UsageError
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.core.running.batch import Batch, float_input
from dashpot.core.running.context import Context
from dashpot.techniques.augment.mixing.base import MIXERS, Drawn, Mixing, StackedMixing
from dashpot.techniques.augment.mixing.cutmix import CutMix
from dashpot.techniques.augment.mixing.mixup import Mixup
from dashpot.techniques.augment.mixing.partners import PARTNERS
from dashpot.techniques.augment.mixing.resize_mix import ResizeMix
from dashpot.techniques.augment.picture import image_input

WAYS: dict[str, type[Mixing]] = {"mixup": Mixup, "cutmix": CutMix, "resizemix": ResizeMix}


class RandomMix(Mixing):
    r"""Mix each image in one of several ways, chosen by chance for each image: Mixup, CutMix or ResizeMix.

    .. math:: P(k) = p\, w_k / \sum_l w_l

    It is what ``RandomChoice`` of several mixers is elsewhere, but not for a whole batch at once. Targets and weights
    are mixed as each way mixes them.

    Args:
        p: the probability that an image is mixed at all, in [0, 1]; 0 is off.
        mixup, cutmix, resizemix: the weights of the three ways, >= 0, not all 0; only their ratios matter.
        mixup_alpha, cutmix_alpha: the shapes of the Beta distributions of their shares, > 0. ResizeMix pastes images of
            0.1 to 0.8 of the side.
        partner: ``"any"`` image of the batch, one of the ``"same-class"`` or of an ``"other-class"``; see
            :class:`Mixup`.

    Raises:
        ConfigError: all weights are 0.
        ConflictError: attached with ``ignore_index``, or partners by class where targets are no classes.
        UsageError: inputs that are not images [batch, channels, height, width] of floating point, targets of each
            pixel, or integer targets while the number of classes is unknown.
        DataError: codes outside 0 to ``classes`` - 1, or labels outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> recipe = dashpot.augment.RandomMix(p=1.0, mixup=1, cutmix=2)
        >>> session = recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
        >>> session.batch(torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])).y.shape
        torch.Size([6, 3])

    Paper: Liu et al., "RandomMix: A Mixed Sample Data Augmentation Method with Multiple Mixed Modes", 2022.

    When not to use it: where one way is known to be better; each further one adds a number to choose.
    """

    requires = Requires(modality=("image",), float_input=True)
    summary = "mixes each image by Mixup, CutMix or ResizeMix"
    stacked = StackedMixing
    numbers = ("p", *WAYS, "mixup_alpha", "cutmix_alpha")

    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = field(default=0.5, kw_only=False)
    mixup: Annotated[float, Range(0.0, float("inf"))] = 1.0
    cutmix: Annotated[float, Range(0.0, float("inf"))] = 1.0
    resizemix: Annotated[float, Range(0.0, float("inf"))] = 0.0
    mixup_alpha: Annotated[float, Range(0.0, float("inf"), open="low")] = 0.2
    cutmix_alpha: Annotated[float, Range(0.0, float("inf"), open="low")] = 1.0
    partner: Annotated[str, Choice(PARTNERS)] = "any"

    def validate(self) -> None:
        if not self.mixup + self.cutmix + self.resizemix:
            raise ConfigError("RandomMix.mixup, cutmix and resizemix", "not all 0", 0)

    @classmethod
    def input(cls, x: Any) -> Tensor:
        return float_input(image_input(x, cls.__name__), cls.__name__)

    def on_batch(self, batch: Batch, ctx: Context) -> Batch:
        x, y = self.input(batch.x), batch.y
        if isinstance(y, Tensor) and y.ndim > 2 and y.shape[-2:] == x.shape[-2:] and not self.off():
            raise UsageError(
                f"RandomMix needs one target for each image, got {list(y.shape)}: one for each pixel. Use CutMix."
            )
        return super().on_batch(batch, ctx)

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        count = len(keys)
        own: dict[str, Mapping[str, np.ndarray]] = {
            "mixup": {"alpha": numbers["mixup_alpha"]},
            "cutmix": {"alpha": numbers["cutmix_alpha"]},
            "resizemix": {"smallest": np.full(count, 0.1), "largest": np.full(count, 0.8)},
        }
        weights = np.stack([numbers[name] for name in WAYS], axis=1)
        bounds = torch.from_numpy(np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True))
        lots = uniform_by(derive_all(keys, MIXERS), n).double()
        which = (lots[..., None] >= bounds[:, None, :-1]).sum(dim=2)
        drawn = [kind.draw(keys, own[name], n) for name, kind in WAYS.items()]
        share = torch.stack([part["share"] for part in drawn], dim=-1).gather(2, which[..., None])[..., 0]
        return {"share": share, "corners": drawn[1]["corners"], "which": which}

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        out, share = x.clone(), drawn["share"].clone()
        for number, kind in enumerate(WAYS.values()):
            rows = (drawn["which"] == number).nonzero()[:, 0]
            if not len(rows):
                continue
            there = rows.to(x.device, non_blocking=True)
            own = {name: part[rows] for name, part in drawn.items()}
            out[there], share[rows] = kind.mixed(x[there], partner[there], own)
        return out, share
