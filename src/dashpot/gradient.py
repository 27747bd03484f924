"""Techniques that change gradients."""

from __future__ import annotations

from dashpot.techniques.gradient.adaptive_clipping import AdaptiveGradientClipping
from dashpot.techniques.gradient.centralization import GradientCentralization
from dashpot.techniques.gradient.clipping import GradientClipping

__all__ = ["AdaptiveGradientClipping", "GradientCentralization", "GradientClipping"]
