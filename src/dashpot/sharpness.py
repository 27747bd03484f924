"""Sharpness-aware techniques, for flat minima."""

from __future__ import annotations

from dashpot.techniques.sharpness.sam import SAM

__all__ = ["SAM"]
