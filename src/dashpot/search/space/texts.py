"""Combinations that are tried first on texts, and the learning rates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dashpot.search.space.distributions import Numeric

Fields = Mapping[str, Mapping[str, Any]]

NETWORKS = frozenset(("textconv", "textbag", "textfeatures", "textencoder"))
"""By which a space for texts is known."""
LR, LR_DEFAULT = Numeric(5e-4, 8e-3, log=True), 2e-3
SMOOTH: Fields = {"label-smoothing": {"smoothing": 0.05}}
DROPPED: Fields = {"dropout": {"p": 0.5}}
LESS: Fields = {"dropout": {"p": 0.3}}
DECAY: Fields = {"weight-decay": {"strength": 0.1}}
EMA: Fields = {"ema": {"decay": 0.98}}
MOVED: Fields = {"adversarial-embeddings": {"epsilon": 0.3}}
CONV, BAG = {"net.net": "textconv"}, {"net.net": "textbag", "lr": 8e-4}
COMBINATIONS: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "convolutions, adversarial, smoothed": ({**MOVED, **SMOOTH}, {**CONV, "lr": 4e-3}),
    "bag, dropout, smoothed": ({**DROPPED, **SMOOTH}, BAG),
    "convolutions, dropout, adversarial, smoothed": ({**DROPPED, **MOVED, **SMOOTH}, {**CONV, "lr": 3e-3}),
    "bag, dropout, smoothed, decayed, averaged": ({**DROPPED, **SMOOTH, **DECAY, **EMA}, BAG),
}
"""As :data:`dashpot.search.space.defaults.COMBINATIONS`: the two kinds of networks in turn, since the mean of both is
better than either.
"""
ENCODED = {"net.net": "textfeatures"}
OF_ENCODER: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "vectors of the encoder, dropout, smoothed": ({**LESS, **SMOOTH}, ENCODED),
    "vectors of the encoder, dropout, decayed, averaged": ({**DROPPED, **DECAY, **EMA}, ENCODED),
}
"""Where an encoder has read the texts, before the others."""


TRAINED = {"net.net": "textencoder"}
OF_TRAINED: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "encoder trained further, smoothed": ({**SMOOTH}, TRAINED),
    "encoder trained further, smoothed, decayed, averaged": ({**SMOOTH, **DECAY, **EMA}, TRAINED),
}
"""Where a user searches over one that is trained further, before the others."""


def combinations_for(networks: Collection[str]) -> Mapping[str, tuple[Fields, Mapping[str, Any]]]:
    """Those of a space with these networks."""
    first = OF_ENCODER if ENCODED["net.net"] in networks else {}
    return {**(OF_TRAINED if TRAINED["net.net"] in networks else {}), **first, **COMBINATIONS}
