"""What augment.py measures: its rows as calls on one batch, by us and by each library that is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from augment_pixels import PIXELS
from augment_rows import GEOMETRY, MIXING, Row
from torch import Tensor, nn

from dashpot.core.recipe import Recipe

ROWS: dict[str, Row] = {
    **GEOMETRY,
    **PIXELS,
    **MIXING,
    "pipeline": Row(parts=("horizontal flip", "crop", "rotation", "jitter", "erasing")),
    "six": Row(parts=("horizontal flip", "jitter", "affine", "blur", "erasing", "grayscale")),
}
PEERS = ("kornia", "keras", "torchvision", "timm", "albumentations", "pillow")
FLOATS = ("kornia", "keras")
"""Libraries that make floats of bytes first: they get floats only."""
ON_GPU = ("kornia", "torchvision")
"""Libraries that are measured on a GPU too."""
CLASSES = 10


def parts(name: str) -> list[Row]:
    """The rows that a row is made of: itself, or those of a pipeline."""
    return [ROWS[part] for part in ROWS[name].parts or (name,)]


def ours(name: str, x: Tensor, y: Tensor) -> Callable[[], Any]:
    """A session's call for a batch."""
    recipe = Recipe(tuple(technique for row in parts(name) for technique in Recipe.coerce(row.ours)))
    model = nn.Linear(1, 1)
    session = recipe.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=0, classes=CLASSES)
    return lambda: session.batch(x, y)


def peers(name: str, x: Tensor, y: Tensor) -> dict[str, Callable[[], Any]]:
    """What each installed library does to the batch.

    Those that act on single images put each into a batch whose memory is there already, as a network needs it;
    albumentations, Pillow and Keras with the channels of a pixel side by side. timm writes into the batch that it is
    given, and gets a copy of it.
    """
    found: dict[str, Callable[[], Any]] = {}
    for library in PEERS:
        makes = [getattr(row, library) for row in parts(name)]
        if None in makes or (library in FLOATS and x.dtype == torch.uint8):
            continue
        if x.device.type != "cpu" and library not in ON_GPU:
            continue
        if importlib.util.find_spec("PIL" if library == "pillow" else library) is None:
            continue
        try:
            call = CALLS[library](parts(name), makes, x, y)
            if call is not None:
                call()
                found[library] = call
        except Exception as error:  # a peer may fail in any way, and is then left out, and said to be
            print(f"{library} fails at {name} of {x.dtype}: {str(error)[:200]}", file=sys.stderr)
    return found


def _chain(steps: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    for step in steps:
        x = step(x)
    return x


def _filled(batch: Any, images: Iterator[Any]) -> Any:
    for k, image in enumerate(images):
        batch[k] = image
    return batch


class _Names:
    """A library's names, and what its transforms need of the batch."""

    def __init__(self, *modules: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        return next(getattr(m, name) for m in self._modules if hasattr(m, name))


def _batched(row: Row, steps: Sequence[Callable[..., Any]], x: Tensor, y: Tensor) -> Callable[[], Any]:
    return (lambda: steps[0](x, y)) if row.mixes else (lambda: _chain(steps, x))


def _kornia(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any]:
    import kornia.augmentation as k

    return _batched(rows[0], [make(_Names(k, side=x.shape[-1])) for make in makes], x, y)


def _keras(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    def layer(name: str, **settings: Any) -> Callable[[Any], Any]:
        kind = getattr(keras.layers, name)
        if "value_range" in inspect.signature(kind.__init__).parameters:
            settings["value_range"] = (0, 1)
        made = kind(**settings)
        return lambda images: made(images, training=True)

    steps, images = [make(layer) for make in makes], x.permute(0, 2, 3, 1).contiguous()
    if rows[0].mixes:
        labels = nn.functional.one_hot(y, CLASSES).float()
        return lambda: steps[0]({"images": images, "labels": labels})
    return lambda: _chain(steps, images)


def _torchvision(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any]:
    v2, whole = torchvision_v2(), torch.empty_like(x)
    steps = [make(_Names(v2, side=x.shape[-1], half=128 if x.dtype == torch.uint8 else 0.5)) for make in makes]
    if rows[0].mixes:
        return _batched(rows[0], steps, x, y)
    return lambda: _filled(whole, (_chain(steps, image) for image in x))


def torchvision_v2() -> Any:
    """The transforms of torchvision."""
    with contextlib.suppress(RuntimeError):
        from torchvision.transforms import v2

        return v2
    for name in ("nms", "qnms"):  # built for another torch: only its operators for boxes are missing
        torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    from torchvision.transforms import v2

    return v2


def _timm(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any] | None:
    torchvision_v2()
    from timm import data

    steps = [make(_Names(data, side=x.shape[-1])) for make in makes]
    if all(row.timm_images for row in rows):
        return _on_images(steps, x) if x.dtype == torch.uint8 else None
    own = torch.empty_like(x)
    return _batched(rows[0], [lambda *inputs: steps[0](own.copy_(inputs[0]), *inputs[1:])], x, y)


def _albumentations(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any]:
    import albumentations
    import cv2

    cv2.setNumThreads(torch.get_num_threads() if torch.get_num_threads() > 1 else 0)
    made = [make(_Names(albumentations, side=x.shape[-1])) for make in makes]
    steps = [lambda image, step=step: step(image=image)["image"] for step in made]
    images = [image.permute(1, 2, 0).contiguous().numpy() for image in x]
    whole = np.empty((len(x), *images[0].shape), images[0].dtype)
    return lambda: _filled(whole, (_chain(steps, image) for image in images))


def _pillow(rows: Sequence[Row], makes: Sequence[Any], x: Tensor, y: Tensor) -> Callable[[], Any] | None:
    if x.dtype != torch.uint8:
        return None
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps

    names = _Names(Image=Image, ImageEnhance=ImageEnhance, ImageFilter=ImageFilter, ImageOps=ImageOps)
    return _on_images([lambda image, make=make: make(names, image) for make in makes], x)


def _on_images(steps: Sequence[Callable[[Any], Any]], x: Tensor) -> Callable[[], Any]:
    """Transforms of PIL's images, one after another."""
    from PIL import Image

    images = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in x]
    whole = np.empty((len(x), *x.shape[2:], x.shape[1]), np.uint8)
    return lambda: _filled(whole, (np.asarray(_chain(steps, image)) for image in images))


CALLS: dict[str, Callable[[Sequence[Row], Sequence[Any], Tensor, Tensor], Callable[[], Any] | None]] = {
    "kornia": _kornia,
    "keras": _keras,
    "torchvision": _torchvision,
    "timm": _timm,
    "albumentations": _albumentations,
    "pillow": _pillow,
}
