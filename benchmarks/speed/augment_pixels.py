"""Rows of augment.py: what changes pixels where they are, by us and by others."""

from __future__ import annotations

import random
from typing import Any

from augment_rows import Row

import dashpot
from dashpot.core.recipe import Recipe


def _factor() -> float:
    return random.uniform(0.7, 1.3)


def _erased(image: Any, share: float) -> Any:
    image, side = image.copy(), round(image.width * share)
    x, y = random.randrange(image.width - side + 1), random.randrange(image.height - side + 1)
    image.paste(0, (x, y, x + side, y + side))
    return image


A = dashpot.augment
PIXELS: dict[str, Row] = {
    "brightness": Row(
        A.Brightness(0.3),
        kornia=lambda k: k.RandomBrightness((0.7, 1.3), p=1.0),
        keras=lambda k: k("RandomBrightness", factor=0.3),
        torchvision=lambda t: t.ColorJitter(brightness=0.3),
        albumentations=lambda a: a.RandomBrightnessContrast(0.3, 0.0, p=1.0),
        pillow=lambda pil, im: pil.ImageEnhance.Brightness(im).enhance(_factor()),
    ),
    "contrast": Row(
        A.Contrast(0.3),
        kornia=lambda k: k.RandomContrast((0.7, 1.3), p=1.0),
        keras=lambda k: k("RandomContrast", factor=0.3),
        torchvision=lambda t: t.ColorJitter(contrast=0.3),
        albumentations=lambda a: a.RandomBrightnessContrast(0.0, 0.3, p=1.0),
        pillow=lambda pil, im: pil.ImageEnhance.Contrast(im).enhance(_factor()),
    ),
    "saturation": Row(
        A.Saturation(0.3),
        kornia=lambda k: k.RandomSaturation((0.7, 1.3), p=1.0),
        keras=lambda k: k("RandomSaturation", factor=(0.35, 0.65)),
        torchvision=lambda t: t.ColorJitter(saturation=0.3),
        albumentations=lambda a: a.ColorJitter((1, 1), (1, 1), (0.7, 1.3), (0, 0), p=1.0),
        pillow=lambda pil, im: pil.ImageEnhance.Color(im).enhance(_factor()),
    ),
    "hue": Row(
        A.Hue(18.0),
        kornia=lambda k: k.RandomHue((-0.05, 0.05), p=1.0),
        keras=lambda k: k("RandomHue", factor=0.05),
        torchvision=lambda t: t.ColorJitter(hue=0.05),
        albumentations=lambda a: a.ColorJitter((1, 1), (1, 1), (1, 1), (-0.05, 0.05), p=1.0),
    ),
    "jitter": Row(
        Recipe((A.Brightness(0.3), A.Contrast(0.3), A.Saturation(0.3), A.Hue(18.0))),
        kornia=lambda k: k.ColorJitter(0.3, 0.3, 0.3, 0.05, p=1.0),
        keras=lambda k: k(
            "RandomColorJitter",
            brightness_factor=0.3,
            contrast_factor=0.3,
            saturation_factor=(0.35, 0.65),
            hue_factor=0.05,
        ),
        torchvision=lambda t: t.ColorJitter(0.3, 0.3, 0.3, 0.05),
        albumentations=lambda a: a.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1.0),
    ),
    "grayscale": Row(
        A.Grayscale(p=1.0),
        kornia=lambda k: k.RandomGrayscale(p=1.0),
        keras=lambda k: k("RandomGrayscale", factor=1.0),
        torchvision=lambda t: t.RandomGrayscale(1.0),
        albumentations=lambda a: a.ToGray(p=1.0),
        pillow=lambda pil, im: im.convert("L").convert("RGB"),
    ),
    "invert": Row(
        A.Invert(p=1.0),
        kornia=lambda k: k.RandomInvert(p=1.0),
        keras=lambda k: k("RandomInvert", factor=1.0),
        torchvision=lambda t: t.RandomInvert(p=1.0),
        albumentations=lambda a: a.InvertImg(p=1.0),
        pillow=lambda pil, im: pil.ImageOps.invert(im),
    ),
    "solarize": Row(
        A.Solarize(p=1.0),
        kornia=lambda k: k.RandomSolarize(0.0, 0.0, p=1.0),
        keras=lambda k: k("Solarization", threshold_factor=(0.5, 0.5)),
        torchvision=lambda t: t.RandomSolarize(t.half, p=1.0),
        albumentations=lambda a: a.Solarize(p=1.0),
        pillow=lambda pil, im: pil.ImageOps.solarize(im, 128),
    ),
    "posterize": Row(
        A.Posterize(p=1.0, bits=4),
        kornia=lambda k: k.RandomPosterize(4.0, p=1.0),
        keras=lambda k: k("RandomPosterization", factor=4),
        torchvision=lambda t: t.RandomPosterize(4, p=1.0),
        albumentations=lambda a: a.Posterize(num_bits=(4, 8), p=1.0),
        pillow=lambda pil, im: pil.ImageOps.posterize(im, 4),
    ),
    "equalize": Row(
        A.Equalize(p=1.0),
        kornia=lambda k: k.RandomEqualize(p=1.0),
        keras=lambda k: k("Equalization"),
        torchvision=lambda t: t.RandomEqualize(p=1.0),
        albumentations=lambda a: a.Equalize(p=1.0),
        pillow=lambda pil, im: pil.ImageOps.equalize(im),
    ),
    "autocontrast": Row(
        A.AutoContrast(p=1.0),
        kornia=lambda k: k.RandomAutoContrast(p=1.0),
        keras=lambda k: k("AutoContrast"),
        torchvision=lambda t: t.RandomAutocontrast(p=1.0),
        albumentations=lambda a: a.AutoContrast(p=1.0),
        pillow=lambda pil, im: pil.ImageOps.autocontrast(im),
    ),
    "blur": Row(
        A.Blur(sigma=1.0, p=1.0),
        kornia=lambda k: k.RandomGaussianBlur((7, 7), (0.1, 1.0), p=1.0),
        keras=lambda k: k("RandomGaussianBlur", factor=1.0, kernel_size=7, sigma=1.0),
        torchvision=lambda t: t.GaussianBlur(7, (0.1, 1.0)),
        albumentations=lambda a: a.GaussianBlur((7, 7), (0.1, 1.0), p=1.0),
        pillow=lambda pil, im: im.filter(pil.ImageFilter.GaussianBlur(random.uniform(0.1, 1.0))),
    ),
    "sharpness": Row(
        A.Sharpness(0.9),
        kornia=lambda k: k.RandomSharpness(1.0, p=1.0),
        keras=lambda k: k("RandomSharpness", factor=0.9),
        torchvision=lambda t: t.RandomAdjustSharpness(1.5, p=1.0),
        albumentations=lambda a: a.Sharpen(p=1.0),
        pillow=lambda pil, im: pil.ImageEnhance.Sharpness(im).enhance(_factor()),
    ),
    "noise": Row(
        A.PixelNoise(std=0.05),
        kornia=lambda k: k.RandomGaussianNoise(0.0, 0.05, p=1.0),
        torchvision=lambda t: t.GaussianNoise(0.0, 0.05),
        albumentations=lambda a: a.GaussNoise((0.05, 0.05), p=1.0),
    ),
    "salt and pepper": Row(
        A.SaltAndPepper(amount=0.02),
        kornia=lambda k: k.RandomSaltAndPepperNoise(0.02, 0.5, p=1.0),
        albumentations=lambda a: a.SaltAndPepper((0.02, 0.02), (0.5, 0.5), p=1.0),
    ),
    "erasing": Row(
        A.RandomErasing(p=0.5, fill="zero"),
        kornia=lambda k: k.RandomErasing((0.02, 0.33), (0.3, 3.3), p=0.5),
        keras=lambda k: k("RandomErasing", factor=0.5, scale=(0.02, 0.33), fill_value=0.0),
        torchvision=lambda t: t.RandomErasing(0.5),
        timm=lambda t: t.random_erasing.RandomErasing(0.5, device="cpu"),
        albumentations=lambda a: a.Erasing((0.02, 0.33), (0.3, 3.3), p=0.5),
        pillow=lambda pil, im: _erased(im, random.uniform(0.02, 0.33) ** 0.5) if random.random() < 0.5 else im.copy(),
    ),
    "cutout": Row(
        A.Cutout(fraction=0.5, fill="zero"),
        kornia=lambda k: k.RandomErasing((0.25, 0.25), (1.0, 1.0), p=1.0),
        keras=lambda k: k("RandomErasing", factor=1.0, scale=(0.25, 0.25), fill_value=0.0),
        torchvision=lambda t: t.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0)),
        timm=lambda t: t.random_erasing.RandomErasing(1.0, 0.25, 0.25, 1.0, 1.0, device="cpu"),
        albumentations=lambda a: a.CoarseDropout((1, 1), (0.5, 0.5), (0.5, 0.5), p=1.0),
        pillow=lambda pil, im: _erased(im, 0.5),
    ),
    "gridmask": Row(A.GridMask(p=1.0), albumentations=lambda a: a.GridDropout(0.4, p=1.0)),
}
