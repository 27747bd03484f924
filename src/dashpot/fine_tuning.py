"""Techniques for networks that were trained before: they keep to the weights of the start, or train parts of them."""

from __future__ import annotations

from dashpot.techniques.fine_tuning.child_tuning import ChildTuning
from dashpot.techniques.fine_tuning.embedding_noise import EmbeddingNoise
from dashpot.techniques.fine_tuning.freeze_until import FreezeUntil
from dashpot.techniques.fine_tuning.l2_sp import L2SP
from dashpot.techniques.fine_tuning.mixout import Mixout
from dashpot.techniques.fine_tuning.selective_projection_decay import SelectiveProjectionDecay

__all__ = ["L2SP", "ChildTuning", "EmbeddingNoise", "FreezeUntil", "Mixout", "SelectiveProjectionDecay"]
