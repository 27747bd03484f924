"""Techniques that soften targets, or make some of them random."""

from __future__ import annotations

from dashpot.techniques.labels.label_noise import LabelNoise
from dashpot.techniques.labels.label_smoothing import LabelSmoothing
from dashpot.techniques.labels.prior import class_prior

__all__ = ["LabelNoise", "LabelSmoothing", "class_prior"]
