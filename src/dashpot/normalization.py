"""Techniques that normalize."""

from __future__ import annotations

from dashpot.techniques.normalization.ghost_batch_norm import GhostBatchNorm

__all__ = ["GhostBatchNorm"]
