"""Test-time augmentation: the versions of each image, and the network that gives one answer to all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields import text
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive, stream
from dashpot.core.running.batch import unit_range
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import told
from dashpot.imaging.content import ImageDraws, image_hashes
from dashpot.imaging.draws import Size
from dashpot.imaging.execute import execute
from dashpot.techniques.augment.geometry.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.geometry.vertical_flip import VerticalFlip
from dashpot.techniques.augment.picture import PictureTechnique, image_input, operations_of
from dashpot.training.augmented import pictures_of

DRAWS = 8
"""Augmented versions of each image, where nobody says how many."""
FLIP = "flip"
"""Short for both mirror images."""


@dataclass(frozen=True)
class TTA:
    """How a model's answer is averaged over several versions of an image.

    .. math:: p(x) = \\sum_k w_k\\, p_k, \\quad p_k = \\mathrm{softmax}(f(\\tilde x_k))

    Where the recipe holds flips only and ``draws`` is None, the versions are all mirror images, each with the
    probability that the recipe gives it: the exact average, without randomness. Else they are the untouched image and
    ``draws`` augmented ones, all with one weight; what is drawn depends on the image's pixels and ``seed`` only, not
    on the images beside it.

    Args:
        recipe: techniques on single images, in any form that :meth:`dashpot.Recipe.coerce` reads; ``"flip"`` stands
            for ``"horizontal-flip"``. Mild ones, such as were trained with.
        draws: augmented versions of each image, >= 1; None: all mirror images of flips, else 8.
        seed: of the draws.

    Raises:
        ConfigError: a technique that does not act on single images, none at all, or a number that is none of these.

    Example:
        >>> import dashpot
        >>> dashpot.TTA("flip").versions, dashpot.TTA("flip | translation").versions, dashpot.TTA("hue", draws=3).draws
        (2, 9, 3)

    When not to use it: where a prediction must be quick (it costs as many predictions as there are versions), or with
    augmentations that change what is asked for.
    """

    recipe: Any
    draws: int | None = None
    seed: int = 0
    _techniques: tuple[tuple[str, PictureTechnique], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        recipe = _recipe(self.recipe)
        object.__setattr__(self, "recipe", recipe)
        object.__setattr__(self, "_techniques", tuple(pictures_of(recipe, "tta")))
        if not self._techniques:
            raise ConfigError("recipe of tta", "of one technique on images at least", "none", 'Say "flip", or None.')
        if self.draws is not None:
            check_whole("draws of tta", self.draws)
        check_whole("seed of tta", self.seed, 0)

    @staticmethod
    def of(given: Any, draws: int | None = None) -> TTA | None:
        """From a recipe in any form, from itself or its plain JSON; None of None and ``"none"``.

        Raises:
            ConfigError: as the class; also ``draws`` without techniques.
        """
        if given is None or (isinstance(given, str) and given == "none"):
            if draws is not None:
                raise ConfigError("draws of tta", "given with techniques", draws, "Say which, such as tta='flip'.")
            return None
        if isinstance(given, list | tuple) and "none" in given:
            raise ConfigError("tta", '"none" alone, or techniques', given)
        if isinstance(given, Mapping) and "draws" in given:
            given = TTA(given["recipe"], given["draws"], int(given.get("seed", 0)))
        if isinstance(given, TTA):
            return given if draws is None else TTA(given.recipe, draws, given.seed)
        return TTA(given, draws)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, from which :meth:`of` makes the same."""
        return {"recipe": [text.write(technique) for technique in self.recipe], "draws": self.draws, "seed": self.seed}

    @property
    def mirrors(self) -> list[tuple[float, tuple[int, ...]]]:
        """Where they are averaged exactly: the weight of each mirror image, and the axes that are reversed."""
        if self.draws is not None:
            return []
        return _mirrors([technique for _, technique in self._techniques])

    @property
    def versions(self) -> int:
        """How many predictions one answer takes."""
        return len(self.mirrors) or (DRAWS if self.draws is None else self.draws) + 1

    def images(self, x: Tensor, *, unit: bool = True) -> Iterator[tuple[float, Tensor]]:
        """The weight of each version, and the images; bytes come as float32 in [0, 1], or without ``unit`` as bytes."""
        if self.mirrors:
            shown = unit_range(x) if unit else x
            for weight, axes in self.mirrors:
                yield weight, shown.flip(axes) if axes else shown
            return
        for weight, shown in drawn(self._techniques, x, DRAWS if self.draws is None else self.draws, self.seed):
            back = not unit and x.dtype == torch.uint8
            yield weight, (shown * 255).round().to(torch.uint8) if back else shown

    def network(self, model: nn.Module, targets: str | None = "classes", *, unit: bool = True) -> TTANetwork:
        """The model whose outputs are those averages: see :class:`TTANetwork`."""
        return TTANetwork(model, self, targets, unit=unit)

    def __str__(self) -> str:
        drawn = "" if self.mirrors else f" x {self.versions - 1}"
        return f"{self.recipe}{drawn}"


class TTANetwork(nn.Module):
    """A model whose outputs, in evaluation mode, are averages over several versions of each image.

    It gives what the model itself would: logits whose softmax (or sigmoid) is the mean of the versions' probabilities,
    or mean values. Whatever takes a model's outputs (losses, scores, a temperature, a decision) takes these. In
    training mode it is the model itself.

    Args:
        model: from images to logits or values [n, outputs].
        tta: the versions.
        targets: ``"classes"``, ``"multilabel"`` or ``"values"``.
        unit: bytes reach the model as float32 in [0, 1]; else as bytes.

    Shape: [n, channels, height, width] to [n, outputs].

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        >>> both, x = dashpot.TTA("flip").network(model).eval(), torch.rand(2, 1, 4, 4)
        >>> mean = (model(x).softmax(1) + model(x.flip(3)).softmax(1)) / 2
        >>> bool(torch.allclose(both(x).softmax(1), mean, atol=1e-6))
        True
    """

    def __init__(self, model: nn.Module, tta: TTA, targets: str | None = "classes", *, unit: bool = True) -> None:
        super().__init__()
        self.model, self.tta, self.targets, self.unit = model, tta, _kind(targets), unit
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs]."""
        if self.training:
            found: Tensor = self.model(x)
            return found
        pairs = [
            (weight, demand_outputs(self.model(shown), x.shape[0]))  # len() would be a fixed number in torch.export
            for weight, shown in self.tta.images(image_input(x, "tta"), unit=self.unit)
        ]
        return averaged(pairs, self.targets)


def averaged(pairs: Sequence[tuple[float, Tensor]], targets: str) -> Tensor:
    """Outputs [n, outputs] whose probabilities are the weighted means of others', or their mean values.

    Probabilities are added as logarithms, so that none becomes 0.
    """
    if targets == "values":
        return torch.stack([weight * out for weight, out in pairs]).sum(dim=0)
    shares = [math.log(weight) for weight, _ in pairs]

    def total(parts: Iterator[Tensor]) -> Tensor:
        return torch.stack([part + share for part, share in zip(parts, shares, strict=True)]).logsumexp(dim=0)

    if targets == "classes":
        return total(out.log_softmax(dim=1) for _, out in pairs)
    return total(logsigmoid(out) for _, out in pairs) - total(logsigmoid(-out) for _, out in pairs)


def drawn(
    techniques: Sequence[tuple[str, PictureTechnique]], x: Tensor, draws: int, seed: int
) -> Iterator[tuple[float, Tensor]]:
    """The untouched images and ``draws`` augmented versions, with one weight each."""
    # Bytes would be rounded between operations, which depends on what the images beside them are given.
    weight, x = 1 / (draws + 1), unit_range(x)
    yield weight, x
    hashes = image_hashes(x) if draws else None
    for version in range(1, draws + 1):
        assert hashes is not None
        size = Size(*x.shape)
        pairs = [(t, ImageDraws(derive(stream(seed, path), version), hashes, version)) for path, t in techniques]
        yield weight, execute(x, operations_of(pairs, size))


@torch.no_grad()
def demand_images(tta: TTA, model: nn.Module, x: Any, modality: str | None) -> None:
    """Refuse test-time augmentation where there is nothing that it can act on, before work begins.

    Args:
        x: some inputs.
        modality: what they are, where that is known.

    Raises:
        ConfigError: they are no images.
        DataError: outputs that cannot be averaged, or images of another size that the model does not take.
    """
    if modality not in (None, "image") or not isinstance(x, Tensor) or x.ndim != 4 or not _pixels(x):
        got = modality if modality not in (None, "image") else told(x)
        way = "Leave it out; a table has no versions to average over."
        raise ConfigError("tta", "None for other inputs than images [n, channels, height, width]", got, way)
    with evaluating(model):
        for _, shown in tta.images(x, unit=modality == "image"):
            try:
                out = model(shown)
            except (RuntimeError, ValueError) as error:
                wanted = f"the model must take the images that tta makes, {list(shown.shape)} of {list(x.shape)}"
                raise DataError(f"{wanted}, got {type(error).__name__}: {str(error).splitlines()[0]}") from error
            demand_outputs(out, len(x))


def _pixels(x: Tensor) -> bool:
    return x.dtype == torch.uint8 or x.is_floating_point()


def _recipe(given: Any) -> Recipe:
    """The recipe, with ``"flip"`` for both mirror images."""
    if isinstance(given, str):
        given = ["horizontal-flip" if part == FLIP else part for part in text.split_recipe(given)]
    elif isinstance(given, Sequence):
        given = [part for one in given for part in (_recipe(one) if isinstance(one, str) else [one])]
    return Recipe.coerce(given)


def _mirrors(techniques: Sequence[PictureTechnique]) -> list[tuple[float, tuple[int, ...]]]:
    """The weight of each mirror image with its reversed axes; empty where a technique is no flip."""
    sides: dict[int, float] = {}
    for technique in techniques:
        if not isinstance(technique, HorizontalFlip | VerticalFlip):
            return []
        share = 0.5 if getattr(technique, "alternate", False) and technique.p else technique.p
        axis = 3 if isinstance(technique, HorizontalFlip) else 2
        before = sides.get(axis, 0.0)
        sides[axis] = before * (1 - share) + (1 - before) * share  # two of a kind may undo each other
    found = []
    for chosen in itertools.product((False, True), repeat=len(sides)):
        weight = math.prod(p if on else 1 - p for p, on in zip(sides.values(), chosen, strict=True))
        if weight > 0:
            found.append((weight, tuple(axis for axis, on in zip(sides, chosen, strict=True) if on)))
    return found


def _kind(targets: str | None) -> str:
    return targets if targets in ("multilabel", "values") else "classes"


def demand_outputs(out: Any, n: int) -> Tensor:
    """The outputs of one version.

    Raises:
        DataError: the model gives something else than [n, outputs].
    """
    if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[0] != n:
        raise DataError(f"with test-time augmentation the model must give a tensor [{n}, outputs], got {told(out)}.")
    return out
