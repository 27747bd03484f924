"""``tta_predict``: a model's answers to several versions of each image, their mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.running.batch import unit_range
from dashpot.core.running.modes import evaluating
from dashpot.core.technique import Technique
from dashpot.techniques.augment.picture import image_input
from dashpot.training.versions import TTA, averaged, demand_outputs

KINDS = ("classes", "multilabel", "values")
Targets = Literal["classes", "multilabel", "values"]


@dataclass(frozen=True)
class TTAResult:
    """What :func:`tta_predict` found.

    Attributes:
        mean: of the probabilities (or values) over all versions of an image, float32 [n, outputs].
        spread: their standard deviation, of the same shape: how much the answer depends on the version.
        versions: of each image, the untouched one included.
    """

    mean: Tensor
    spread: Tensor
    versions: int


@torch.no_grad()
def tta_predict(
    model: nn.Module,
    x: Any,
    recipe: Recipe | Technique | TTA | str | Sequence[Any],
    *,
    draws: int | None = None,
    seed: int = 0,
    targets: Targets = "classes",
    batch_size: int = 256,
) -> TTAResult:
    """Predict by the mean over several versions of each image, and say how much they differ.

    Args:
        model: from images to logits or values [n, outputs]; it is run in evaluation mode, where its parameters are.
        x: images [n, channels, height, width], a tensor or an array; bytes (uint8) reach the model as float32 in [0,
            1].
        recipe: techniques on images, in any form that :meth:`dashpot.Recipe.coerce` reads; mild ones, such as were
            trained with. Or a :class:`TTA`, with its own draws and seed.
        draws: augmented versions of each image beside the untouched one, >= 0; with 0 it is the plain prediction.
            None: of a recipe of flips all mirror images, exactly; else 8.
        seed: of the draws, which depend on an image's pixels beside it, not on its place.
        targets: ``"classes"`` averages softmax probabilities, ``"multilabel"`` sigmoids, ``"values"`` outputs.
        batch_size: images at once.

    Raises:
        ConfigError: a technique that does not act on single images, or a number that is none of these.
        DataError, UsageError: inputs that are no images, or outputs that are not [n, outputs].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> result = dashpot.tta_predict(model, torch.rand(5, 1, 8, 8), "translation", draws=4)
        >>> result.mean.shape, result.versions, bool(torch.allclose(result.mean.sum(1), torch.ones(5)))
        (torch.Size([5, 3]), 5, True)

    When not to use it: where a prediction must be quick (it costs as many predictions as there are versions), or with
    augmentations that change what is asked for.
    """
    batch_size, seed = check_whole("batch_size", batch_size), check_whole("seed", seed, 0)
    if targets not in KINDS:
        raise ConfigError("targets", f"one of {', '.join(KINDS)}", targets)
    if not isinstance(recipe, TTA):
        recipe = TTA(recipe, None if draws is None else max(check_whole("draws", draws, 0), 1), seed)
    elif draws is not None:
        recipe = TTA(recipe.recipe, max(check_whole("draws", draws, 0), 1), recipe.seed)
    images = image_input(x if isinstance(x, Tensor) else torch.as_tensor(x), "tta_predict")
    if not len(images):
        raise DataError("tta_predict needs at least one image, got none.")
    first = next(iter(model.parameters()), torch.empty(0, device="cpu"))
    means, spreads = [], []
    with evaluating(model):
        for part in torch.split(images, batch_size):
            x = part.to(first.device)
            versions = [(1.0, unit_range(x))] if draws == 0 else recipe.images(x)
            pairs = [(weight, demand_outputs(model(shown), len(part))) for weight, shown in versions]
            mean = _answers(averaged([(w, out.double()) for w, out in pairs], targets), targets)
            apart = [w * (_answers(out.double(), targets) - mean).square() for w, out in pairs]
            means.append(mean.float())
            spreads.append(torch.stack(apart).sum(dim=0).sqrt().float())
    return TTAResult(torch.cat(means), torch.cat(spreads), len(pairs))


def _answers(out: Tensor, targets: str) -> Tensor:
    """Probabilities, or values."""
    return out.softmax(dim=1) if targets == "classes" else out.sigmoid() if targets == "multilabel" else out
