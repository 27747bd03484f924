"""Techniques that end training."""

from __future__ import annotations

from dashpot.techniques.stopping.early_stopping import EarlyStopping

__all__ = ["EarlyStopping"]
