"""Test-time augmentation of the model that a search ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.digits import digits
from dashpot.core.recipe import Recipe
from dashpot.core.running.tensor_rows import TensorRows
from dashpot.evaluation.losses import predict
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Trial
from dashpot.techniques.augment.geometry.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.geometry.vertical_flip import VerticalFlip
from dashpot.training.versions import TTA, demand_images

AUTO = "auto"
"""Both mirror images, where the recipe flips images and held-out rows are answered better so: about the price of one
more prediction.
"""


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


def of_trial(task: Task, trial: Trial, folds: Sequence[int], tta: TTA, *, unit: bool) -> Trial:
    """The trial with the outputs that its networks give for their held-out rows by all versions of each image."""
    outputs = []
    for fold, tensors in zip(folds[: len(trial.outputs)], trial.tensors, strict=False):  # others saw every row
        network = task.make(dict(trial.candidate.net))
        network.load_state_dict(dict(tensors), strict=False)
        rows = TensorRows(task.x, torch.as_tensor(task.folds[fold][1]))
        outputs.append(predict(tta.network(network.eval(), targets_of(task), unit=unit).eval(), rows).float().cpu())
    return replace(trial, outputs=outputs)


def kept(
    task: Task,
    tta: TTA,
    plain: tuple[Tensor, np.ndarray],
    versions: tuple[Tensor, np.ndarray],
    *,
    asked: bool,
) -> tuple[TTA | None, str]:
    """The test-time augmentation, if the held-out rows are answered better with it or it was asked for, and what the
    report says of it.

    Args:
        plain, versions: outputs for held-out rows without it and with it, and the rows.
        asked: by the user.
    """
    one, several = task.proper(*plain), task.proper(*versions)
    what = "loss" if task.own_score else "log loss" if task.classes else "RMSE"
    told = f"held-out {what} {digits(several)}, of each image alone {digits(one)}"
    if asked or several < one:
        return tta, f"{in_words(tta)} ({told})"
    mean = in_words(tta).removeprefix("predictions are ")
    return None, f"predictions are of each image alone, as {mean} is no better ({told})"


def targets_of(task: Task) -> str:
    """As :meth:`dashpot.TTA.network` names them."""
    return "classes" if task.classes else "values"


def in_words(tta: TTA) -> str:
    """For the line of the report that says what predicts."""
    if tta.mirrors:
        count = len(tta.mirrors)
        which = "both mirror images" if count == 2 else f"all {count} mirror images"
        return f"predictions are the mean over {which} of each image"
    return f"predictions are the mean over {tta.versions} versions of each image ({tta.recipe})"
