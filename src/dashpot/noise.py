"""Techniques that add noise within the network or to its gradients; that on inputs stands in ``dashpot.augment``."""

from __future__ import annotations

from dashpot.techniques.noise.activation_noise import ActivationNoise
from dashpot.techniques.noise.gradient_noise import GradientNoise

__all__ = ["ActivationNoise", "GradientNoise"]
