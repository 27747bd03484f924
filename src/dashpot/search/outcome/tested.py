"""Test-time augmentation of the model that a search ends with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.recipe import Recipe
from dashpot.techniques.augment.geometry.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.geometry.vertical_flip import VerticalFlip
from dashpot.training.versions import TTA, demand_images

AUTO = "auto"
"""Both mirror images, where the recipe flips images: about the price of one more prediction."""


def as_json(given: Any) -> Any:
    """What a configuration says of it, as plain JSON that :func:`tta_of` and :meth:`dashpot.TTA.of` read.

    Raises:
        ConfigError: it is none.
    """
    if given == AUTO:
        return AUTO
    found = TTA.of(given)
    return "none" if found is None else found.to_dict()


def tta_of(given: Any, recipe: Recipe) -> TTA | None:
    """The test-time augmentation of a final model.

    Args:
        given: as in :class:`dashpot.SearchConfig`.
        recipe: that the model is trained with.

    Example:
        >>> import dashpot
        >>> print(tta_of("auto", dashpot.augment.HorizontalFlip(0.2) | dashpot.augment.Hue(5)))
        HorizontalFlip(p=0.5)
        >>> tta_of("auto", dashpot.augment.Hue(5) | dashpot.Dropout(0.1)) is None
        True
    """
    if given != AUTO:
        return TTA.of(given)
    flips = {type(t)() for t in recipe if isinstance(t, HorizontalFlip | VerticalFlip) and t.p != 0}
    return TTA(Recipe(sorted(flips, key=str))) if flips else None


def demand_fit(given: Any, x: Tensor, modality: str | None) -> None:
    """Refuse what is asked for where the data are no images, before a search begins.

    Raises:
        ConfigError: naming ``tta``.
    """
    if given == AUTO or (tta := TTA.of(given)) is None:
        return
    demand_images(tta, nn.Flatten(), torch.zeros_like(x[:2]), modality)


def in_words(tta: TTA) -> str:
    """For the line of the report that says what predicts."""
    if tta.mirrors:
        count = len(tta.mirrors)
        which = "both mirror images" if count == 2 else f"all {count} mirror images"
        return f"predictions are the mean over {which} of each image"
    return f"predictions are the mean over {tta.versions} versions of each image ({tta.recipe})"
