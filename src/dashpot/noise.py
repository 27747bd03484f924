"""Techniques that add noise within the network or to its gradients, or the worst noise there is to its inputs; random
noise on inputs stands in ``dashpot.augment``.
"""

from __future__ import annotations

from dashpot.techniques.noise.activation_noise import ActivationNoise
from dashpot.techniques.noise.adversarial_embeddings import AdversarialEmbeddings
from dashpot.techniques.noise.adversarial_examples import AdversarialExamples
from dashpot.techniques.noise.gradient_noise import GradientNoise
from dashpot.techniques.noise.virtual_adversarial import VirtualAdversarial
from dashpot.techniques.noise.weight_noise import WeightNoise

__all__ = [
    "ActivationNoise",
    "AdversarialEmbeddings",
    "AdversarialExamples",
    "GradientNoise",
    "VirtualAdversarial",
    "WeightNoise",
]
