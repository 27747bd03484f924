"""ResizeMix: paste another image, made small, and mix the targets by its area."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from dashpot.core.draws import uniform_by
from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.techniques.augment.mixing.base import CORNERS, SCALES, Drawn, Mixing, StackedMixing
from dashpot.techniques.augment.mixing.cutmix import outside
from dashpot.techniques.augment.mixing.partners import PARTNERS
from dashpot.techniques.augment.picture import image_input


def resize_mix(
    x: Shaped[Tensor, "batch channels height width"],
    partner: Shaped[Tensor, "batch channels height width"],
    boxes: Int[Tensor, "batch 4"],
) -> Shaped[Tensor, "batch channels height width"]:
    """``partner`` as a whole, resized to each sample's box (top, bottom, left, right), and ``x`` outside. Each pixel of
    the box is the nearest one of the partner.
    """
    places, insides = [], []
    for axis, length in enumerate(x.shape[2:]):
        start, stop = boxes[:, 2 * axis : 2 * axis + 1], boxes[:, 2 * axis + 1 : 2 * axis + 2]
        at = torch.arange(length, device=x.device) - start
        extent = (stop - start).clamp(min=1)
        places.append(((2 * at + 1) * length // (2 * extent)).clamp(0, length - 1))
        insides.append((at >= 0) & (at < stop - start))
    flat = (places[0][:, :, None] * x.shape[3] + places[1][:, None, :]).flatten(1)[:, None, :]
    small = partner.flatten(2).gather(2, flat.expand(-1, x.shape[1], -1)).view(x.shape)
    return torch.where((insides[0][:, :, None] & insides[1][:, None, :])[:, None], small, x)


def inner_boxes(scale: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Boxes of ``scale`` times the image's sides, at least one pixel unless the scale is 0, all of them inside."""
    size = torch.tensor([height, width], dtype=torch.float64, device="cpu")
    lengths = (scale.double()[..., None] * size).round().clamp(min=1) * (scale[..., None] > 0)
    start = (corners.double() * (size - lengths + 1)).floor()
    return torch.stack([start, start + lengths], dim=-1).flatten(-2).long()


class ResizeMix(Mixing):
    r"""Paste another image of the batch, made small, into each image, and mix the targets by its area.

    .. math:: \tilde y = (1 - \tau^2) y_i + \tau^2 y_j, \quad \tau \sim U(\text{smallest}, \text{largest})

    Unlike a box that is cut out, the pasted image always holds its object as a whole. It is resized by the nearest
    pixel and lies wholly inside; the share is that of the pixels really covered. Else it is as :class:`CutMix`.

    Args:
        p: the probability that an image is mixed, in [0, 1]; 0 is off.
        smallest, largest: the sides of the pasted image as a share of the image's, above 0.
        partner: ``"any"`` image of the batch, one of the ``"same-class"`` or of an ``"other-class"``; see
            :class:`Mixup`.

    Raises:
        ConfigError: ``smallest`` is above ``largest``.
        ConflictError, UsageError, DataError: as :class:`CutMix`.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> recipe = dashpot.augment.ResizeMix(p=1.0)
        >>> session = recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
        >>> session.batch(torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])).y.shape
        torch.Size([6, 3])

    Paper: Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels", 2020.

    When not to use it: where size tells the class, or images are so small that a reduced one shows nothing.
    """

    requires = Requires(modality=("image",))
    summary = "pastes other images, made small, and mixes the targets by area"
    stacked = StackedMixing
    numbers = ("p", "smallest", "largest")
    moves = True

    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = field(default=0.5, kw_only=False)
    smallest: Annotated[float, Range(0.0, 1.0, open="low")] = 0.1
    largest: Annotated[float, Range(0.0, 1.0, open="low")] = 0.8
    partner: Annotated[str, Choice(PARTNERS)] = "any"

    def validate(self) -> None:
        if self.smallest > self.largest:
            raise ConfigError("ResizeMix.smallest", f"at most largest, {self.largest:g}", self.smallest)

    @classmethod
    def input(cls, x: Any) -> Tensor:
        return image_input(x, cls.__name__)

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        low, high = (torch.from_numpy(numbers[name])[:, None] for name in ("smallest", "largest"))
        scale = low + (high - low) * uniform_by(derive_all(keys, SCALES), n).double()
        corners = uniform_by(derive_all(keys, CORNERS), 2 * n).view(-1, n, 2)
        return {"share": (1 - scale.square()).float(), "corners": corners}

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        boxes = inner_boxes((1 - drawn["share"].double()).sqrt(), drawn["corners"], *x.shape[2:])
        return resize_mix(x, partner, boxes.to(x.device, non_blocking=True)), outside(boxes, *x.shape[2:])
