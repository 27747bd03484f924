"""Test-time augmentation: a model's answers to several versions of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive, stream
from dashpot.core.running.batch import unit_range
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import told
from dashpot.core.technique import Technique
from dashpot.imaging.draws import SampleDraws, Size
from dashpot.imaging.execute import execute
from dashpot.techniques.augment.picture import PictureTechnique, image_input, operations_of
from dashpot.training.augmented import pictures_of


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
    recipe: Recipe | Technique | str | Sequence[Any],
    *,
    draws: int = 8,
    seed: int = 0,
    targets: Literal["classes", "multilabel", "values"] = "classes",
    batch_size: int = 256,
) -> TTAResult:
    """Predict by the mean over the untouched image and ``draws`` augmented versions of it.

    Args:
        model: from images to logits or values [n, outputs]; it is run in evaluation mode, where its parameters are.
        x: images [n, channels, height, width], a tensor or an array; bytes (uint8) reach the model as float32 in [0,
            1].
        recipe: techniques on images, in any form that :meth:`dashpot.Recipe.coerce` reads; mild ones, such as were
            trained with.
        draws: augmented versions of each image, >= 0; with 0 it is the plain prediction.
        seed: of the draws, which depend on an image's place and on ``batch_size`` beside it.
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

    When not to use it: where a prediction must be quick (it costs ``draws + 1`` predictions), or with augmentations
    that change what is asked for.
    """
    techniques = pictures_of(recipe, "tta_predict")
    draws, batch_size = check_whole("draws", draws, 0), check_whole("batch_size", batch_size)
    seed = check_whole("seed", seed, 0)
    if targets not in ("classes", "multilabel", "values"):
        raise ConfigError("targets", "one of classes, multilabel, values", targets)
    images = image_input(x if isinstance(x, Tensor) else torch.as_tensor(x), "tta_predict")
    first = next(iter(model.parameters()), torch.empty(0, device="cpu"))
    means, spreads = [], []
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size].to(first.device)
            total = square = torch.zeros((), dtype=torch.float64, device=first.device)
            for version in range(draws + 1):
                shown = unit_range(part) if version == 0 else _version(part, techniques, seed, version, start)
                answers = _answers(model(shown), len(part), targets).double()
                total, square = total + answers, square + answers.square()
            mean = total / (draws + 1)
            means.append(mean.float())
            spreads.append((square / (draws + 1) - mean.square()).clamp(min=0).sqrt().float())
    if not means:
        raise DataError("tta_predict needs at least one image, got none.")
    return TTAResult(torch.cat(means), torch.cat(spreads), draws + 1)


def _version(
    x: Tensor, techniques: Sequence[tuple[str, PictureTechnique]], seed: int, version: int, start: int
) -> Tensor:
    """One augmented version of each image."""
    size, drawn = Size(*x.shape), []
    places = torch.arange(start, start + len(x), device="cpu")
    for path, technique in techniques:
        own = stream(seed, path)
        drawn.append(
            (technique, SampleDraws(derive(own, version, start), len(x), own=own, index=places, epoch=version))
        )
    return execute(x, operations_of(drawn, size), unit=x.dtype == torch.uint8)


def _answers(out: Any, n: int, targets: str) -> Tensor:
    """Probabilities or values [n, outputs].

    Raises:
        DataError: the model gives something else.
    """
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != n:
        raise DataError(f"the model must give a tensor [{n}, outputs], got {told(out)}.")
    return out.softmax(dim=1) if targets == "classes" else out.sigmoid() if targets == "multilabel" else out
