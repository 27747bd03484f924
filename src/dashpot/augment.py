"""Techniques that change inputs while training."""

from __future__ import annotations

from dashpot.techniques.augment.elastic import Elastic
from dashpot.techniques.augment.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup
from dashpot.techniques.augment.perspective import Perspective
from dashpot.techniques.augment.random_crop import RandomCrop
from dashpot.techniques.augment.random_resized_crop import RandomResizedCrop
from dashpot.techniques.augment.rotation import Rotation
from dashpot.techniques.augment.shear import Shear
from dashpot.techniques.augment.translation import Translation
from dashpot.techniques.augment.vertical_flip import VerticalFlip
from dashpot.techniques.augment.zoom import Zoom

__all__ = [
    "Elastic",
    "HorizontalFlip",
    "InputNoise",
    "Mixup",
    "Perspective",
    "RandomCrop",
    "RandomResizedCrop",
    "Rotation",
    "Shear",
    "Translation",
    "VerticalFlip",
    "Zoom",
]
