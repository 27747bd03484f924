"""The same augmentations by others, one row each; each library only where it is installed."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dashpot
from dashpot.core.recipe import Recipe

Make = Callable[[Any], Any]
"""From a library, given its modules, to one of its transforms."""


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        ours: the technique.
        kornia, torchvision, albumentations: how they make theirs; None: they have none.
        pillow: from PIL's modules and an image to an image.
        parts: where it is a pipeline, the names of its rows.
    """

    ours: Any = None
    kornia: Make | None = None
    torchvision: Make | None = None
    albumentations: Make | None = None
    pillow: Callable[[Any, Any], Any] | None = None
    parts: tuple[str, ...] = ()


def _factor() -> float:
    return random.uniform(0.7, 1.3)


def _place(image: Any, side: int) -> tuple[int, int, int, int]:
    x, y = random.randrange(9), random.randrange(9)
    return x, y, x + side, y + side


A = dashpot.augment
ROWS: dict[str, Row] = {
    "horizontal flip": Row(
        A.HorizontalFlip(p=0.5),
        lambda k: k.RandomHorizontalFlip(p=0.5),
        lambda t: t.RandomHorizontalFlip(0.5),
        lambda a: a.HorizontalFlip(p=0.5),
        lambda pil, im: im.transpose(pil.Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else im.copy(),
    ),
    "crop": Row(
        A.RandomCrop(padding=4),
        lambda k: k.RandomCrop((k.side, k.side), padding=4, padding_mode="reflect"),
        lambda t: t.RandomCrop(t.side, padding=4, padding_mode="reflect"),
        lambda a: a.Compose([a.PadIfNeeded(a.side + 8, a.side + 8, border_mode=4), a.RandomCrop(a.side, a.side)]),
        lambda pil, im: pil.ImageOps.expand(im, 4).crop(_place(im, im.width)),
    ),
    "rotation": Row(
        A.Rotation(degrees=15),
        lambda k: k.RandomRotation(15.0, p=1.0),
        lambda t: t.RandomRotation(15, interpolation=t.InterpolationMode.BILINEAR),
        lambda a: a.Affine(rotate=(-15, 15), border_mode=4, p=1.0),
        lambda pil, im: im.rotate(random.uniform(-15, 15), pil.Image.Resampling.BILINEAR),
    ),
    "affine": Row(
        Recipe((A.Rotation(degrees=15), A.Translation(0.1, whole=False), A.Zoom(0.2), A.Shear(10))),
        lambda k: k.RandomAffine(15.0, (0.1, 0.1), (0.8, 1.2), 10.0, p=1.0, padding_mode="reflection"),
        lambda t: t.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), 10, interpolation=t.InterpolationMode.BILINEAR),
        lambda a: a.Affine(
            rotate=(-15, 15), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), shear=(-10, 10), border_mode=4, p=1.0
        ),
    ),
    "resized crop": Row(
        A.RandomResizedCrop(scale=0.3),
        lambda k: k.RandomResizedCrop((k.side, k.side), scale=(0.3, 1.0), p=1.0),
        lambda t: t.RandomResizedCrop(t.side, scale=(0.3, 1.0)),
        lambda a: a.RandomResizedCrop(size=(a.side, a.side), scale=(0.3, 1.0), p=1.0),
    ),
    "perspective": Row(
        A.Perspective(distortion=0.3),
        lambda k: k.RandomPerspective(0.3, p=1.0),
        lambda t: t.RandomPerspective(0.3, p=1.0),
        lambda a: a.Perspective(scale=(0.05, 0.1), keep_size=True, p=1.0),
    ),
    "elastic": Row(
        A.Elastic(alpha=1.0, sigma=4.0),
        lambda k: k.RandomElasticTransform((17, 17), (4.0, 4.0), (0.1, 0.1), p=1.0),
        lambda t: t.ElasticTransform(25.0, 4.0),
        lambda a: a.ElasticTransform(alpha=25, sigma=4, border_mode=4, p=1.0),
    ),
    "brightness": Row(
        A.Brightness(0.3),
        lambda k: k.RandomBrightness((0.7, 1.3), p=1.0),
        lambda t: t.ColorJitter(brightness=0.3),
        lambda a: a.RandomBrightnessContrast(0.3, 0.0, p=1.0),
        lambda pil, im: pil.ImageEnhance.Brightness(im).enhance(_factor()),
    ),
    "contrast": Row(
        A.Contrast(0.3),
        lambda k: k.RandomContrast((0.7, 1.3), p=1.0),
        lambda t: t.ColorJitter(contrast=0.3),
        lambda a: a.RandomBrightnessContrast(0.0, 0.3, p=1.0),
        lambda pil, im: pil.ImageEnhance.Contrast(im).enhance(_factor()),
    ),
    "saturation": Row(
        A.Saturation(0.3),
        lambda k: k.RandomSaturation((0.7, 1.3), p=1.0),
        lambda t: t.ColorJitter(saturation=0.3),
        lambda a: a.ColorJitter((1, 1), (1, 1), (0.7, 1.3), (0, 0), p=1.0),
        lambda pil, im: pil.ImageEnhance.Color(im).enhance(_factor()),
    ),
    "hue": Row(
        A.Hue(18.0),
        lambda k: k.RandomHue((-0.05, 0.05), p=1.0),
        lambda t: t.ColorJitter(hue=0.05),
        lambda a: a.ColorJitter((1, 1), (1, 1), (1, 1), (-0.05, 0.05), p=1.0),
    ),
    "jitter": Row(
        Recipe((A.Brightness(0.3), A.Contrast(0.3), A.Saturation(0.3), A.Hue(18.0))),
        lambda k: k.ColorJitter(0.3, 0.3, 0.3, 0.05, p=1.0),
        lambda t: t.ColorJitter(0.3, 0.3, 0.3, 0.05),
        lambda a: a.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1.0),
    ),
    "solarize": Row(
        A.Solarize(p=1.0),
        lambda k: k.RandomSolarize(0.0, 0.0, p=1.0),
        lambda t: t.RandomSolarize(t.half, p=1.0),
        lambda a: a.Solarize(p=1.0),
        lambda pil, im: pil.ImageOps.solarize(im, 128),
    ),
    "equalize": Row(
        A.Equalize(p=1.0),
        lambda k: k.RandomEqualize(p=1.0),
        lambda t: t.RandomEqualize(p=1.0),
        lambda a: a.Equalize(p=1.0),
        lambda pil, im: pil.ImageOps.equalize(im),
    ),
    "blur": Row(
        A.Blur(sigma=1.0, p=1.0),
        lambda k: k.RandomGaussianBlur((7, 7), (0.1, 1.0), p=1.0),
        lambda t: t.GaussianBlur(7, (0.1, 1.0)),
        lambda a: a.GaussianBlur((7, 7), (0.1, 1.0), p=1.0),
        lambda pil, im: im.filter(pil.ImageFilter.GaussianBlur(random.uniform(0.1, 1.0))),
    ),
    "noise": Row(
        A.PixelNoise(std=0.05),
        lambda k: k.RandomGaussianNoise(0.0, 0.05, p=1.0),
        None,
        lambda a: a.GaussNoise((0.05, 0.05), p=1.0),
    ),
    "erasing": Row(
        A.RandomErasing(p=0.5, fill="zero"),
        lambda k: k.RandomErasing((0.02, 0.33), (0.3, 3.3), p=0.5),
        lambda t: t.RandomErasing(0.5),
        lambda a: a.Erasing((0.02, 0.33), (0.3, 3.3), p=0.5),
    ),
    "grayscale": Row(
        A.Grayscale(p=1.0),
        lambda k: k.RandomGrayscale(p=1.0),
        lambda t: t.RandomGrayscale(1.0),
        lambda a: a.ToGray(p=1.0),
    ),
    "posterize": Row(
        A.Posterize(p=1.0, bits=4),
        lambda k: k.RandomPosterize(4.0, p=1.0),
        lambda t: t.RandomPosterize(4, p=1.0),
        lambda a: a.Posterize(num_bits=(4, 8), p=1.0),
        lambda pil, im: pil.ImageOps.posterize(im, 4),
    ),
    "autocontrast": Row(
        A.AutoContrast(p=1.0),
        lambda k: k.RandomAutoContrast(p=1.0),
        lambda t: t.RandomAutocontrast(p=1.0),
        lambda a: a.AutoContrast(p=1.0),
        lambda pil, im: pil.ImageOps.autocontrast(im),
    ),
    "sharpness": Row(
        A.Sharpness(0.9),
        lambda k: k.RandomSharpness(1.0, p=1.0),
        lambda t: t.RandomAdjustSharpness(1.5, p=1.0),
        lambda a: a.Sharpen(p=1.0),
        lambda pil, im: pil.ImageEnhance.Sharpness(im).enhance(_factor()),
    ),
    "trivial augment": Row(A.TrivialAugment(), None, lambda t: t.TrivialAugmentWide()),
    "rand augment": Row(
        A.RandAugment(2, magnitude=5.0),
        lambda k: k.auto.RandAugment(n=2, m=15),
        lambda t: t.RandAugment(2, 15),
    ),
    "pipeline": Row(parts=("horizontal flip", "crop", "rotation", "jitter", "erasing")),
}


def ours(name: str) -> Recipe:
    """The recipe of a row."""
    return Recipe(tuple(t for part in ROWS[name].parts or (name,) for t in Recipe.coerce(ROWS[part].ours)))


def _chain(steps: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    for step in steps:
        x = step(x)
    return x


def peers(name: str, x: Tensor) -> dict[str, Callable[[], Any]]:
    """What each installed library does to the batch. Those that act on single images put each into a batch whose
    memory is there already, as a network needs it; albumentations and Pillow with the channels of a pixel side by side.
    """
    rows = [ROWS[part] for part in ROWS[name].parts or (name,)]
    found: dict[str, Callable[[], Any]] = {}
    makes = {lib: [getattr(row, lib) for row in rows] for lib in ("kornia", "torchvision", "albumentations", "pillow")}
    side, byte = x.shape[-1], x.dtype == torch.uint8
    images = [image.permute(1, 2, 0).contiguous().numpy() for image in x]
    whole, beside = torch.empty_like(x), np.empty((len(x), *images[0].shape), images[0].dtype)
    for lib, loader in (("kornia", _kornia), ("torchvision", _torchvision), ("albumentations", _albumentations)):
        if None in makes[lib] or (lib == "kornia" and byte) or (module := loader(side, byte)) is None:
            continue
        steps = [make(module) for make in makes[lib]]
        if lib == "kornia":
            found[lib] = lambda steps=steps: _chain(steps, x)
        elif lib == "torchvision":
            found[lib] = lambda steps=steps: _filled(whole, [lambda im=im: _chain(steps, im) for im in x])
        else:
            steps = [lambda im, step=step: step(image=im)["image"] for step in steps]
            found[lib] = lambda steps=steps: _filled(beside, [lambda im=im: _chain(steps, im) for im in images])
    if None not in makes["pillow"] and byte and (pil := _pillow()) is not None:
        shown = [pil.Image.fromarray(image) for image in images]
        steps = [lambda im, make=make: make(pil, im) for make in makes["pillow"]]
        found["pillow"] = lambda: _filled(beside, [lambda im=im: np.asarray(_chain(steps, im)) for im in shown])
    return found


def _filled(batch: Any, images: Sequence[Callable[[], Any]]) -> None:
    for k, image in enumerate(images):
        batch[k] = image()


class _Module:
    """A library's names, and what its transforms need of the batch."""

    def __init__(self, *modules: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        return next(getattr(m, name) for m in self._modules if hasattr(m, name))


def _kornia(side: int, byte: bool) -> Any:
    if importlib.util.find_spec("kornia") is None:
        return None
    import kornia.augmentation as k

    return _Module(k, side=side)


def _torchvision(side: int, byte: bool) -> Any:
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        from torchvision.transforms import v2
    except RuntimeError:  # built for another torch: only its operators for boxes are missing
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
        from torchvision.transforms import v2

    return _Module(v2, side=side, half=128 if byte else 0.5)


def _albumentations(side: int, byte: bool) -> Any:
    if importlib.util.find_spec("albumentations") is None:
        return None
    import albumentations
    import cv2

    cv2.setNumThreads(torch.get_num_threads() if torch.get_num_threads() > 1 else 0)
    return _Module(albumentations, side=side)


def _pillow() -> Any:
    if importlib.util.find_spec("PIL") is None:
        return None
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps

    return _Module(Image=Image, ImageEnhance=ImageEnhance, ImageFilter=ImageFilter, ImageOps=ImageOps)
