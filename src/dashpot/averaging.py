"""Techniques that average weights."""

from __future__ import annotations

from dashpot.techniques.averaging.ema import EMA

__all__ = ["EMA"]
