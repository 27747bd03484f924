"""Rows of augment.py: geometry, mixing and policies by us and by others, with the same ranges where theirs can be set
so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dashpot
from dashpot.core.recipe import Recipe

Make = Callable[[Any], Any]
"""From a library's names, and ``side`` and ``half`` of the images, to one of its transforms."""


@dataclass(frozen=True)
class Row:
    """One operation.

    Attributes:
        ours: the technique.
        kornia, keras, torchvision, timm, albumentations: how they make theirs; None: they have none.
        pillow: from PIL's modules and an image to an image.
        timm_images: whether timm's acts on one image of PIL's after another, not on a batch.
        mixes: images are mixed, and their classes.
        parts: where it is a pipeline, the names of its rows.
    """

    ours: Any = None
    kornia: Make | None = None
    keras: Make | None = None
    torchvision: Make | None = None
    timm: Make | None = None
    albumentations: Make | None = None
    pillow: Callable[[Any, Any], Any] | None = None
    timm_images: bool = False
    mixes: bool = False
    parts: tuple[str, ...] = ()


def _window(image: Any, least: float) -> tuple[float, float, float, float]:
    """A random window of at least this share of an image."""
    side = image.width * random.uniform(least, 1.0) ** 0.5
    x, y = random.uniform(0, image.width - side), random.uniform(0, image.height - side)
    return x, y, x + side, y + side


def _cropped(pil: Any, image: Any) -> Any:
    x, y = random.randrange(9), random.randrange(9)
    return pil.ImageOps.expand(image, 4).crop((x, y, x + image.width, y + image.height))


def _flipped(pil: Any, image: Any, how: str) -> Any:
    return image.transpose(pil.Image.Transpose[how]) if random.random() < 0.5 else image.copy()


def _sheared(pil: Any, image: Any) -> Any:
    matrix = (1, random.uniform(-0.17, 0.17), 0, random.uniform(-0.17, 0.17), 1, 0)
    return image.transform(image.size, pil.Image.Transform.AFFINE, matrix, pil.Image.Resampling.BILINEAR)


def _bilinear(t: Any) -> Any:
    return t.InterpolationMode.BILINEAR


A = dashpot.augment
GEOMETRY: dict[str, Row] = {
    "horizontal flip": Row(
        A.HorizontalFlip(p=0.5),
        kornia=lambda k: k.RandomHorizontalFlip(p=0.5),
        keras=lambda k: k("RandomFlip", mode="horizontal"),
        torchvision=lambda t: t.RandomHorizontalFlip(0.5),
        albumentations=lambda a: a.HorizontalFlip(p=0.5),
        pillow=lambda pil, im: _flipped(pil, im, "FLIP_LEFT_RIGHT"),
    ),
    "vertical flip": Row(
        A.VerticalFlip(p=0.5),
        kornia=lambda k: k.RandomVerticalFlip(p=0.5),
        keras=lambda k: k("RandomFlip", mode="vertical"),
        torchvision=lambda t: t.RandomVerticalFlip(0.5),
        albumentations=lambda a: a.VerticalFlip(p=0.5),
        pillow=lambda pil, im: _flipped(pil, im, "FLIP_TOP_BOTTOM"),
    ),
    "crop": Row(
        A.RandomCrop(padding=4),
        kornia=lambda k: k.RandomCrop((k.side, k.side), padding=4, padding_mode="reflect"),
        torchvision=lambda t: t.RandomCrop(t.side, padding=4, padding_mode="reflect"),
        albumentations=lambda a: a.Compose(
            [a.PadIfNeeded(a.side + 8, a.side + 8, border_mode=4), a.RandomCrop(a.side, a.side)]
        ),
        pillow=_cropped,
    ),
    "rotation": Row(
        A.Rotation(degrees=15),
        kornia=lambda k: k.RandomRotation(15.0, p=1.0),
        keras=lambda k: k("RandomRotation", factor=15 / 360),
        torchvision=lambda t: t.RandomRotation(15, interpolation=_bilinear(t)),
        albumentations=lambda a: a.Affine(rotate=(-15, 15), border_mode=4, p=1.0),
        pillow=lambda pil, im: im.rotate(random.uniform(-15, 15), pil.Image.Resampling.BILINEAR),
    ),
    "translation": Row(
        A.Translation(0.1, whole=False),
        kornia=lambda k: k.RandomAffine(0.0, (0.1, 0.1), p=1.0, padding_mode="reflection"),
        keras=lambda k: k("RandomTranslation", height_factor=0.1, width_factor=0.1),
        torchvision=lambda t: t.RandomAffine(0, (0.1, 0.1), interpolation=_bilinear(t)),
        albumentations=lambda a: a.Affine(translate_percent=(-0.1, 0.1), border_mode=4, p=1.0),
    ),
    "zoom": Row(
        A.Zoom(0.2),
        kornia=lambda k: k.RandomAffine(0.0, scale=(0.8, 1.2), p=1.0, padding_mode="reflection"),
        keras=lambda k: k("RandomZoom", height_factor=0.2),
        torchvision=lambda t: t.RandomAffine(0, scale=(0.8, 1.2), interpolation=_bilinear(t)),
        albumentations=lambda a: a.Affine(scale=(0.8, 1.2), border_mode=4, p=1.0),
    ),
    "shear": Row(
        A.Shear(10),
        kornia=lambda k: k.RandomAffine(0.0, shear=10.0, p=1.0, padding_mode="reflection"),
        keras=lambda k: k("RandomShear", x_factor=0.17, y_factor=0.17),
        torchvision=lambda t: t.RandomAffine(0, shear=10, interpolation=_bilinear(t)),
        albumentations=lambda a: a.Affine(shear=(-10, 10), border_mode=4, p=1.0),
        pillow=_sheared,
    ),
    "affine": Row(
        Recipe((A.Rotation(degrees=15), A.Translation(0.1, whole=False), A.Zoom(0.2), A.Shear(10))),
        kornia=lambda k: k.RandomAffine(15.0, (0.1, 0.1), (0.8, 1.2), 10.0, p=1.0, padding_mode="reflection"),
        torchvision=lambda t: t.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), 10, interpolation=_bilinear(t)),
        albumentations=lambda a: a.Affine(
            rotate=(-15, 15), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), shear=(-10, 10), border_mode=4, p=1.0
        ),
    ),
    "resized crop": Row(
        A.RandomResizedCrop(scale=0.3),
        kornia=lambda k: k.RandomResizedCrop((k.side, k.side), scale=(0.3, 1.0), p=1.0),
        torchvision=lambda t: t.RandomResizedCrop(t.side, scale=(0.3, 1.0), antialias=False),
        timm=lambda t: t.transforms.RandomResizedCropAndInterpolation(t.side, (0.3, 1.0), interpolation="bilinear"),
        timm_images=True,
        albumentations=lambda a: a.RandomResizedCrop(size=(a.side, a.side), scale=(0.3, 1.0), p=1.0),
        pillow=lambda pil, im: im.resize(im.size, pil.Image.Resampling.BILINEAR, box=_window(im, 0.3)),
    ),
    "perspective": Row(
        A.Perspective(distortion=0.3),
        kornia=lambda k: k.RandomPerspective(0.3, p=1.0),
        keras=lambda k: k("RandomPerspective", factor=1.0, scale=0.3),
        torchvision=lambda t: t.RandomPerspective(0.3, p=1.0),
        albumentations=lambda a: a.Perspective(scale=(0.05, 0.1), keep_size=True, p=1.0),
    ),
    "elastic": Row(
        A.Elastic(alpha=1.0, sigma=4.0),
        kornia=lambda k: k.RandomElasticTransform((17, 17), (4.0, 4.0), (0.1, 0.1), p=1.0),
        keras=lambda k: k("RandomElasticTransform", factor=1.0, scale=1.0),
        torchvision=lambda t: t.ElasticTransform(25.0, 4.0),
        albumentations=lambda a: a.ElasticTransform(alpha=25, sigma=4, border_mode=4, p=1.0),
    ),
}

MIXING: dict[str, Row] = {
    "mixup": Row(
        A.Mixup(alpha=1.0),
        kornia=lambda k: k.RandomMixUpV2(p=1.0, data_keys=["input", "class"]),
        keras=lambda k: k("MixUp", alpha=1.0),
        torchvision=lambda t: t.MixUp(num_classes=10),
        timm=lambda t: t.mixup.Mixup(1.0, num_classes=10, label_smoothing=0.0),
        mixes=True,
    ),
    "cutmix": Row(
        A.CutMix(alpha=1.0),
        kornia=lambda k: k.RandomCutMixV2(p=1.0, data_keys=["input", "class"]),
        keras=lambda k: k("CutMix"),
        torchvision=lambda t: t.CutMix(num_classes=10),
        timm=lambda t: t.mixup.Mixup(0.0, 1.0, num_classes=10, label_smoothing=0.0),
        mixes=True,
    ),
    "trivial augment": Row(
        A.TrivialAugment(),
        kornia=lambda k: k.auto.TrivialAugment(),
        torchvision=lambda t: t.TrivialAugmentWide(),
    ),
    "rand augment": Row(
        A.RandAugment(2, magnitude=5.0),
        kornia=lambda k: k.auto.RandAugment(n=2, m=15),
        keras=lambda k: k("RandAugment", num_ops=2, factor=0.5),
        torchvision=lambda t: t.RandAugment(2, 15),
        timm=lambda t: t.auto_augment.rand_augment_transform("rand-m5-n2", {}),
        timm_images=True,
    ),
    "augmix": Row(
        A.AugMix(severity=3.0),
        keras=lambda k: k("AugMix", factor=0.3),
        torchvision=lambda t: t.AugMix(severity=3, all_ops=False),
        timm=lambda t: t.auto_augment.augment_and_mix_transform("augmix-m3-w3", {}),
        timm_images=True,
    ),
}
