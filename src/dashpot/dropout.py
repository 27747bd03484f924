"""Techniques that zero activations, words, or what branches add, at random."""

from __future__ import annotations

from dashpot.techniques.dropout.alpha_dropout import AlphaDropout
from dashpot.techniques.dropout.attention_dropout import AttentionDropout
from dashpot.techniques.dropout.channel_dropout import ChannelDropout
from dashpot.techniques.dropout.concrete_dropout import ConcreteDropout, learned_rates
from dashpot.techniques.dropout.drop_block import DropBlock
from dashpot.techniques.dropout.drop_connect import DropConnect
from dashpot.techniques.dropout.dropout import Dropout
from dashpot.techniques.dropout.embedding_dropout import EmbeddingDropout
from dashpot.techniques.dropout.gaussian_dropout import GaussianDropout
from dashpot.techniques.dropout.places import DropoutOrderWarning, SingleEpochWarning
from dashpot.techniques.dropout.stochastic_depth import StochasticDepth
from dashpot.techniques.dropout.variational_dropout import VariationalDropout

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "ChannelDropout",
    "ConcreteDropout",
    "DropBlock",
    "DropConnect",
    "Dropout",
    "DropoutOrderWarning",
    "EmbeddingDropout",
    "GaussianDropout",
    "SingleEpochWarning",
    "StochasticDepth",
    "VariationalDropout",
    "learned_rates",
]
