"""Sharpness-aware techniques, for flat minima."""

from __future__ import annotations

from dashpot.techniques.sharpness.asam import ASAM
from dashpot.techniques.sharpness.gsam import GSAM
from dashpot.techniques.sharpness.looksam import LookSAM
from dashpot.techniques.sharpness.sam import SAM

__all__ = ["ASAM", "GSAM", "SAM", "LookSAM"]
