"""Techniques that change inputs while training."""

from __future__ import annotations

from dashpot.techniques.augment.aug_mix import AugMix
from dashpot.techniques.augment.auto_contrast import AutoContrast
from dashpot.techniques.augment.blur import Blur
from dashpot.techniques.augment.brightness import Brightness
from dashpot.techniques.augment.contrast import Contrast
from dashpot.techniques.augment.cutmix import CutMix
from dashpot.techniques.augment.cutout import Cutout
from dashpot.techniques.augment.elastic import Elastic
from dashpot.techniques.augment.equalize import Equalize
from dashpot.techniques.augment.grayscale import Grayscale
from dashpot.techniques.augment.grid_mask import GridMask
from dashpot.techniques.augment.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.hue import Hue
from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.invert import Invert
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.augment.perspective import Perspective
from dashpot.techniques.augment.pixel_noise import PixelNoise
from dashpot.techniques.augment.posterize import Posterize
from dashpot.techniques.augment.rand_augment import RandAugment
from dashpot.techniques.augment.random_crop import RandomCrop
from dashpot.techniques.augment.random_erasing import RandomErasing
from dashpot.techniques.augment.random_mix import RandomMix
from dashpot.techniques.augment.random_resized_crop import RandomResizedCrop
from dashpot.techniques.augment.resize_mix import ResizeMix
from dashpot.techniques.augment.rotation import Rotation
from dashpot.techniques.augment.salt_and_pepper import SaltAndPepper
from dashpot.techniques.augment.saturation import Saturation
from dashpot.techniques.augment.sharpness import Sharpness
from dashpot.techniques.augment.shear import Shear
from dashpot.techniques.augment.solarize import Solarize
from dashpot.techniques.augment.translation import Translation
from dashpot.techniques.augment.trivial_augment import TrivialAugment
from dashpot.techniques.augment.vertical_flip import VerticalFlip
from dashpot.techniques.augment.zoom import Zoom
from dashpot.training.augmented import Augmented, SampleTransform

__all__ = [
    "AugMix",
    "Augmented",
    "AutoContrast",
    "Blur",
    "Brightness",
    "Contrast",
    "CutMix",
    "Cutout",
    "Elastic",
    "Equalize",
    "Grayscale",
    "GridMask",
    "HorizontalFlip",
    "Hue",
    "InputNoise",
    "Invert",
    "Mixup",
    "Perspective",
    "PixelNoise",
    "Posterize",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomMix",
    "RandomResizedCrop",
    "ResizeMix",
    "Rotation",
    "SaltAndPepper",
    "SampleTransform",
    "Saturation",
    "Sharpness",
    "Shear",
    "Solarize",
    "Translation",
    "TrivialAugment",
    "VerticalFlip",
    "Zoom",
]
