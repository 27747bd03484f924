"""Techniques that zero activations at random."""

from __future__ import annotations

from dashpot.techniques.dropout.dropout import Dropout

__all__ = ["Dropout"]
