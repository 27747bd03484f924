"""Techniques that normalize."""

from __future__ import annotations

from dashpot.techniques.normalization.ghost_batch_norm import GhostBatchNorm
from dashpot.techniques.normalization.spectral_norm import SpectralNorm
from dashpot.techniques.normalization.weight_norm import WeightNorm
from dashpot.techniques.normalization.weight_standardization import WeightStandardization

__all__ = ["GhostBatchNorm", "SpectralNorm", "WeightNorm", "WeightStandardization"]
