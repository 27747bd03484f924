"""CutMix: paste a box of another image, and mix the targets by its area."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from dashpot.core.draws import beta_by, uniform_by
from dashpot.core.fields.domains import Choice, Range
from dashpot.core.preset import Preset
from dashpot.core.requires import Requires
from dashpot.core.rng import derive_all
from dashpot.imaging import pairs
from dashpot.techniques.augment.mixing.base import CORNERS, SHARES, Drawn, Mixing, StackedMixing
from dashpot.techniques.augment.mixing.partners import PARTNERS
from dashpot.techniques.augment.picture import image_input


def cutmix(
    x: Shaped[Tensor, "batch channels height width"],
    partner: Shaped[Tensor, "batch channels height width"],
    boxes: Int[Tensor, "batch 4"],
) -> Shaped[Tensor, "batch channels height width"]:
    """The pixels of ``partner`` inside of each sample's box (top, bottom, left, right; the second and last excluded),
    those of ``x`` outside.
    """
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[2:])
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]
    return torch.where(inside[:, None], partner, x)


def clipped_boxes(share: Tensor, centres: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes of the images' shape with an area of ``1 - share``, about pixels at ``centres`` (in [0, 1)), clipped at the
    edges; and the shares [...] that are left outside of them.
    """
    if (found := pairs.boxes(share, centres, height, width)) is not None:
        return found
    whole = np.array([height, width])
    lengths = np.rint(np.sqrt(1 - share.double().numpy())[..., None] * whole).astype(np.int64)
    start = (centres.double().numpy() * whole).astype(np.int64) - lengths // 2
    corners = np.stack([np.maximum(start, 0), np.minimum(start + lengths, whole)], axis=-1)
    boxes = torch.from_numpy(corners.reshape(*share.shape, 4))
    return boxes, outside(boxes, height, width)


def outside(boxes: Tensor, height: int, width: int) -> Tensor:
    """The share of an image that is outside of its box, float32."""
    top, bottom, left, right = np.moveaxis(boxes.numpy(), -1, 0)
    area = (bottom - top) * (right - left)
    return torch.from_numpy((1 - area / (height * width)).astype(np.float32))


class CutMix(Mixing):
    r"""Paste a box of another image of the batch into each image, and mix the targets by the box's area.

    .. math:: \tilde x = M x_i + (1 - M) x_j, \quad \tilde y = \bar M y_i + (1 - \bar M) y_j

    The box has the image's shape, the side :math:`\sqrt{1-\lambda}` with :math:`\lambda \sim \mathrm{Beta}(\alpha,
    \alpha)`, and its centre at a random pixel; it is clipped at the edges, and :math:`\bar M` is the share of pixels
    that is really left. One box and one share for each image; pixels are copied bit for bit, so bytes and any number of
    channels will do. Targets and weights are mixed as :class:`Mixup` mixes them; targets of each pixel, [batch, height,
    width] or [batch, classes, height, width], are pasted with the pixels, and stay whole numbers.

    Args:
        alpha: shape of the Beta distribution, > 0; 1 makes all shares equally probable.
        p: the probability that an image is mixed, in [0, 1]; 0 is off.
        partner: ``"any"`` image of the batch, one of the ``"same-class"`` or of an ``"other-class"``; see
            :class:`Mixup`.

    Raises:
        ConflictError: partners by class where targets are no classes.
        UsageError: inputs that are not images [batch, channels, height, width], ``ignore_index`` where not each pixel
            has a target, weights where each has, or integer targets while the number of classes is unknown.
        DataError: codes outside 0 to ``classes`` - 1, or labels outside [0, 1].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(4, 3)
        >>> session = dashpot.CutMix(p=1.0).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), classes=3)
        >>> batch = session.batch(torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> batch.x.shape, batch.y.shape
        (torch.Size([6, 3, 8, 8]), torch.Size([6, 3]))

    Paper: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV
    2019.

    When not to use it: where the class lies in the whole picture or in one small part (counting, fine print, medical
    findings), since the box may hold all of it or nothing.
    """

    requires = Requires(modality=("image",))
    summary = "pastes boxes of other images and mixes the targets by area"
    stacked = StackedMixing
    preset = Preset("p=0.2..1.0", modalities=("image",), pictures=("photo",), order=41)
    numbers = ("alpha", "p")
    moves = True
    centred = True

    alpha: Annotated[float, Range(0.0, float("inf"), open="low")] = field(default=1.0, kw_only=False)
    p: Annotated[float, Range(0.0, 1.0, search=(0.1, 1.0), off=0.0)] = 0.5
    partner: Annotated[str, Choice(PARTNERS)] = "any"

    @classmethod
    def input(cls, x: Any) -> Tensor:
        return image_input(x, cls.__name__)

    @classmethod
    def draw(cls, keys: np.ndarray, numbers: Mapping[str, np.ndarray], n: int) -> Drawn:
        centres = uniform_by(derive_all(keys, CORNERS), 2 * n).view(-1, n, 2)
        return {"share": beta_by(derive_all(keys, SHARES), numbers["alpha"], n), "corners": centres}

    @classmethod
    def mixed(cls, x: Tensor, partner: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        boxes, share = clipped_boxes(drawn["share"], drawn["corners"], *x.shape[2:])
        return cutmix(x, partner, boxes.to(x.device, non_blocking=True)), share

    @classmethod
    def paired(cls, x: Tensor, place: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        boxes, share = clipped_boxes(drawn["share"], drawn["corners"], *x.shape[2:])
        found = pairs.pasted(x, place, boxes)
        return super().paired(x, place, drawn) if found is None else (found, share)
