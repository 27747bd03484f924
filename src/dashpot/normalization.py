"""Techniques that normalize, and normalization layers put into models."""

from __future__ import annotations

from dashpot.techniques.normalization.ghost_batch_norm import GhostBatchNorm
from dashpot.techniques.normalization.spectral_norm import SpectralNorm
from dashpot.techniques.normalization.weight_norm import WeightNorm
from dashpot.techniques.normalization.weight_standardization import WeightStandardization
from dashpot.training.norms import NormPlan, convert, insert

__all__ = ["GhostBatchNorm", "NormPlan", "SpectralNorm", "WeightNorm", "WeightStandardization", "convert", "insert"]
