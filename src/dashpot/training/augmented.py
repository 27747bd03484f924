"""Augmentation of single samples: inside of a Dataset, in the workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dashpot.core.errors import ConfigError, DataError, UsageError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import derive, derive_all, stream
from dashpot.core.running.nested import told
from dashpot.core.technique import Technique
from dashpot.imaging.draws import KeyedDraws, Size
from dashpot.imaging.execute import execute
from dashpot.techniques.augment.picture import PictureTechnique, operations_of
from dashpot.techniques.augment.text.base import TextTechnique
from dashpot.training.text_transform import TextTransform


def pictures_of(recipe: Any, user: str) -> list[tuple[str, PictureTechnique]]:
    """The techniques of a recipe with their paths, in the order in which they act.

    Raises:
        ConfigError: one of them does not act on single images, or follows a schedule.
    """
    found = []
    techniques = Recipe.coerce(recipe)
    for path, technique in zip(techniques.paths(), techniques, strict=True):
        if not isinstance(technique, PictureTechnique):
            raise ConfigError(
                f"recipe of {user}",
                "of techniques that change single images",
                str(technique),
                "Leave it out; dashpot.fit and recipe.attach take it, which see whole batches.",
            )
        if technique.schedules():
            raise ConfigError(
                f"recipe of {user}", "of techniques without schedules", str(technique), "Give it plain numbers."
            )
        found.append((path, technique))
    return sorted(found, key=lambda pair: pair[1].order)


class SampleTransform:
    """Augments one image; what is drawn is a hash of (seed, epoch, index), and of nothing else.

    So it is the same in any process, whatever the number of workers, and in a run that was resumed; two images, and one
    image in two epochs, never share a draw. No random state is read or changed.

    Args:
        recipe: techniques on images, in any form that :meth:`dashpot.Recipe.coerce` reads.
        seed: of all draws.

    Raises:
        ConfigError: a technique that does not act on single images, such as Mixup, or one with a schedule.

    Example:
        >>> import numpy as np, dashpot
        >>> transform = dashpot.augment.SampleTransform("rotation | horizontal-flip", seed=0)
        >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        >>> first, again, later = (transform(image, index=7, epoch=epoch) for epoch in (0, 0, 1))
        >>> first.shape, bool((first == again).all()), bool((first == later).all())
        ((4, 4, 3), True, False)

    When not to use it: where the images fit into memory. ``dashpot.fit`` with the recipe does the same for whole
    batches in a fraction of the time.
    """

    def __init__(self, recipe: Recipe | Technique | str | Sequence[Any], seed: int = 0) -> None:
        self.seed = check_whole("seed", seed, 0)
        found = pictures_of(recipe, type(self).__name__)
        self._techniques = [(stream(self.seed, path), technique) for path, technique in found]
        self._at_once = all(technique.by_itself for _, technique in found)

    def __call__(self, image: Any, *, index: int, epoch: int = 0) -> Any:
        """The image as it is trained on.

        Args:
            image: a PIL image (modes L and RGB), an array [height, width] or [height, width, channels], or a tensor
                [channels, height, width] or [height, width]; uint8, or floating point in [0, 1].
            index: its place in the data, >= 0.
            epoch: epochs completed, >= 0.

        Returns:
            An image of the same kind and type; the one that is given stays as it is.

        Raises:
            DataError: what is no such image.
        """
        return self.batch([image], index=[index], epoch=epoch)[0]

    def batch(self, images: Sequence[Any], *, index: Sequence[int], epoch: int = 0) -> list[Any]:
        """Many images, each as alone; those of one shape and type in one call, which takes a fraction of the time. With
        policies (RandAugment, TrivialAugment, AugMix) each has a call of its own.

        Raises:
            DataError: what is no image, or another number of indices.
        """
        if len(index) != len(images):
            raise DataError(f"index must have one whole number for each of the {len(images)} images, got {index!r}.")
        alike: dict[Any, list[int]] = {}
        opened = [_opened(image) for image in images]
        for k, (pixels, _) in enumerate(opened):
            alone = () if self._at_once else (k,)
            alike.setdefault((pixels.shape, pixels.dtype, pixels.device, *alone), []).append(k)
        found: list[Any] = [None] * len(opened)
        for rows in alike.values():
            x = opened[rows[0]][0][None] if len(rows) == 1 else torch.stack([opened[k][0] for k in rows])
            for k, made in zip(rows, self._augmented(x.contiguous(), [index[k] for k in rows], epoch), strict=True):
                found[k] = opened[k][1](made)
        return found

    def _augmented(self, x: Tensor, index: Sequence[int], epoch: int) -> Tensor:
        size, places, drawn = Size(*x.shape), np.array(index, dtype=np.int64), []
        for own, technique in self._techniques:
            keys = derive_all(np.full(len(x), derive(own, epoch), dtype=np.uint64), places.astype(np.uint64))
            drawn.append((technique, KeyedDraws(keys, own=own, index=torch.from_numpy(places), epoch=epoch)))
        return execute(x, operations_of(drawn, size))


def _opened(image: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Its pixels [channels, height, width], and what makes an image of its kind of such.

    Raises:
        DataError: what is no image.
    """
    if isinstance(image, Tensor):
        if image.ndim not in (2, 3) or not (image.dtype == torch.uint8 or image.is_floating_point()):
            raise DataError(
                f"an image must have 2 or 3 axes, of uint8 or floating point, got {list(image.shape)} of"
                f" {str(image.dtype).removeprefix('torch.')}."
            )
        return (image, _as_it_is) if image.ndim == 3 else (image[None], _plane)
    if isinstance(image, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(image))
        return _opened(pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels)[0], _array_of(image.ndim)
    mode = getattr(image, "mode", None)
    if mode is None or not hasattr(image, "getdata"):
        raise DataError(f"an image must be a PIL image, an array or a tensor, got {told(image)}.")
    if mode not in ("L", "RGB"):
        raise DataError(f"a PIL image must have mode L or RGB, got {mode}. Convert it with image.convert('RGB').")
    from PIL import Image

    pixels, made = _opened(np.array(image))
    return pixels, lambda x: Image.fromarray(made(x))


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _plane(x: Tensor) -> Tensor:
    return x[0]


def _array_of(axes: int) -> Callable[[Tensor], np.ndarray]:
    return lambda x: np.ascontiguousarray((x.permute(1, 2, 0) if axes == 3 else x[0]).numpy())


class Augmented(Dataset[Any]):
    """A Dataset whose images or texts are augmented afresh in each epoch, in whatever worker they are read.

    Args:
        dataset: with ``len`` and items ``(image, ...)`` or an image alone; images as :class:`SampleTransform` takes
            them. With techniques on texts: strings or lists of tokens, as
            :class:`~dashpot.training.text_transform.TextTransform` takes them.
        recipe, seed: see :class:`SampleTransform`.
        then: what is done to the augmented image or text, such as a conversion to a tensor.

    Raises:
        ConfigError: see :class:`SampleTransform`.

    Example:
        >>> import torch, dashpot
        >>> images = torch.utils.data.TensorDataset(torch.rand(10, 3, 8, 8), torch.arange(10) % 2)
        >>> data = dashpot.augment.Augmented(images, "rotation", seed=0)
        >>> loader = torch.utils.data.DataLoader(data, batch_size=5)
        >>> for epoch in range(2):
        ...     data.set_epoch(epoch)
        ...     shapes = [x.shape for x, y in loader]
        >>> shapes
        [torch.Size([5, 3, 8, 8]), torch.Size([5, 3, 8, 8])]

    When not to use it: see :class:`SampleTransform`.
    """

    def __init__(
        self, dataset: Any, recipe: Recipe | Technique | str | Sequence[Any], seed: int = 0, then: Any = None
    ) -> None:
        self.dataset, self.then = dataset, then
        own = Recipe.coerce(recipe)
        texts = any(isinstance(technique, TextTechnique) for technique in own)
        self.transform: SampleTransform | TextTransform = (TextTransform if texts else SampleTransform)(own, seed)
        # In shared memory: workers that stay alive between epochs see it change.
        self._epoch = torch.zeros((), dtype=torch.int64, device="cpu")
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch has no types here

    def set_epoch(self, epoch: int) -> None:
        """Say how many epochs are completed, before the loader is iterated over; ``dashpot.fit`` does so by itself."""
        self._epoch.fill_(check_whole("epoch", epoch, 0))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """What a DataLoader asks for: all items of a batch, whose images are augmented in one call."""
        places = []
        for index in indices:
            if not isinstance(index, int | np.integer):
                raise UsageError(f"Augmented takes one whole number as index, got {told(index)}.")
            places.append(int(index) + (len(self) if index < 0 else 0))
        items = [self.dataset[place] for place in places]
        # A list of tokens is one text, not an item of several parts.
        kinds = (tuple, list) if isinstance(self.transform, SampleTransform) else (tuple,)
        firsts = [item[0] if isinstance(item, kinds) else item for item in items]
        images = self.transform.batch(firsts, index=places, epoch=int(self._epoch))
        if self.then is not None:
            images = [self.then(image) for image in images]
        return [
            type(item)([image, *item[1:]]) if isinstance(item, kinds) else image
            for item, image in zip(items, images, strict=True)
        ]
