"""Techniques that change gradients."""

from __future__ import annotations

from dashpot.techniques.gradient.clipping import GradientClipping

__all__ = ["GradientClipping"]
