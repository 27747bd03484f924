"""Techniques that zero activations, words, or what branches add, at random."""

from __future__ import annotations

from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.dropout.embedding_dropout import EmbeddingDropout
from dashpot.techniques.dropout.stochastic_depth import StochasticDepth
from dashpot.techniques.dropout.variational_dropout import VariationalDropout

__all__ = ["Dropout", "EmbeddingDropout", "StochasticDepth", "VariationalDropout"]
