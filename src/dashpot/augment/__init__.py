"""Techniques that change inputs while training; those on texts stand in ``dashpot.augment.text``."""

from __future__ import annotations

from dashpot.augment import text
from dashpot.techniques.augment.colour.auto_contrast import AutoContrast
from dashpot.techniques.augment.colour.blur import Blur
from dashpot.techniques.augment.colour.brightness import Brightness
from dashpot.techniques.augment.colour.color_jitter import ColorJitter
from dashpot.techniques.augment.colour.contrast import Contrast
from dashpot.techniques.augment.colour.equalize import Equalize
from dashpot.techniques.augment.colour.grayscale import Grayscale
from dashpot.techniques.augment.colour.hue import Hue
from dashpot.techniques.augment.colour.invert import Invert
from dashpot.techniques.augment.colour.posterize import Posterize
from dashpot.techniques.augment.colour.saturation import Saturation
from dashpot.techniques.augment.colour.sharpness import Sharpness
from dashpot.techniques.augment.colour.solarize import Solarize
from dashpot.techniques.augment.geometry.elastic import Elastic
from dashpot.techniques.augment.geometry.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.geometry.perspective import Perspective
from dashpot.techniques.augment.geometry.random_crop import RandomCrop
from dashpot.techniques.augment.geometry.random_resized_crop import RandomResizedCrop
from dashpot.techniques.augment.geometry.rotation import Rotation
from dashpot.techniques.augment.geometry.shear import Shear
from dashpot.techniques.augment.geometry.translation import Translation
from dashpot.techniques.augment.geometry.vertical_flip import VerticalFlip
from dashpot.techniques.augment.geometry.zoom import Zoom
from dashpot.techniques.augment.mixing.cutmix import CutMix
from dashpot.techniques.augment.mixing.manifold_mixup import ManifoldMixup
from dashpot.techniques.augment.mixing.mixup import Mixup
from dashpot.techniques.augment.mixing.random_mix import RandomMix
from dashpot.techniques.augment.mixing.resize_mix import ResizeMix
from dashpot.techniques.augment.noise.cutout import Cutout
from dashpot.techniques.augment.noise.grid_mask import GridMask
from dashpot.techniques.augment.noise.input_noise import InputNoise
from dashpot.techniques.augment.noise.pixel_noise import PixelNoise
from dashpot.techniques.augment.noise.random_erasing import RandomErasing
from dashpot.techniques.augment.noise.salt_and_pepper import SaltAndPepper
from dashpot.techniques.augment.policies.aug_mix import AugMix
from dashpot.techniques.augment.policies.rand_augment import RandAugment
from dashpot.techniques.augment.policies.trivial_augment import TrivialAugment
from dashpot.techniques.augment.signal.amplitude_scale import AmplitudeScale
from dashpot.techniques.augment.signal.drift import Drift
from dashpot.techniques.augment.signal.time_mask import TimeMask
from dashpot.techniques.augment.signal.time_shift import TimeShift
from dashpot.techniques.augment.signal.time_stretch import TimeStretch
from dashpot.training.augmented import Augmented, SampleTransform

__all__ = [
    "AmplitudeScale",
    "AugMix",
    "Augmented",
    "AutoContrast",
    "Blur",
    "Brightness",
    "ColorJitter",
    "Contrast",
    "CutMix",
    "Cutout",
    "Drift",
    "Elastic",
    "Equalize",
    "Grayscale",
    "GridMask",
    "HorizontalFlip",
    "Hue",
    "InputNoise",
    "Invert",
    "ManifoldMixup",
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
    "TimeMask",
    "TimeShift",
    "TimeStretch",
    "Translation",
    "TrivialAugment",
    "VerticalFlip",
    "Zoom",
    "text",
]
