"""Techniques that change inputs while training."""

from __future__ import annotations

from dashpot.techniques.augment.horizontal_flip import HorizontalFlip
from dashpot.techniques.augment.input_noise import InputNoise
from dashpot.techniques.augment.mixup import Mixup

__all__ = ["HorizontalFlip", "InputNoise", "Mixup"]
