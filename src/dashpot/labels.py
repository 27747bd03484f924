"""Techniques that soften targets, or make some of them random."""

from __future__ import annotations

from dashpot.techniques.labels.label_noise import LabelNoise
from dashpot.techniques.labels.label_smoothing import LabelSmoothing

__all__ = ["LabelNoise", "LabelSmoothing"]
