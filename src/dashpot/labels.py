"""Techniques that soften targets."""

from __future__ import annotations

from dashpot.techniques.labels.label_smoothing import LabelSmoothing

__all__ = ["LabelSmoothing"]
