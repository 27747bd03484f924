"""Techniques that zero activations, or what branches add, at random."""

from __future__ import annotations

from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.dropout.stochastic_depth import StochasticDepth

__all__ = ["Dropout", "StochasticDepth"]
