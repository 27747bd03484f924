"""Combinations that are tried first on images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Mapping[str, Any]]
FLIP: Fields = {"horizontal-flip": {}}
SHIFT: Fields = {"translation": {"fraction": 0.1}}
DECAY: Fields = {"weight-decay": {"strength": 0.05}}
SMOOTH: Fields = {"label-smoothing": {"smoothing": 0.1}}
EMA: Fields = {"ema": {"decay": 0.98}}
COMBINATIONS: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "flipped, shifted": ({**FLIP, **SHIFT, **DECAY}, {}),
    "shifted": ({"translation": {"fraction": 0.06}, **DECAY, **EMA}, {}),
    "flipped, shifted, smoothed, averaged": ({**FLIP, **SHIFT, **DECAY, **SMOOTH, **EMA}, {"lr": 5e-3}),
    "flipped, shifted, with holes": ({**FLIP, **SHIFT, **DECAY, **SMOOTH, "cutout": {"fraction": 0.3}}, {}),
    "shifted, mixed": ({"translation": {"fraction": 0.06}, **DECAY, "mixup": {"alpha": 0.2}, **EMA}, {}),
    "flipped, shifted, mixed": ({**FLIP, **SHIFT, **DECAY, "mixup": {"alpha": 0.2}}, {"lr": 5e-3}),
}
"""As :data:`dashpot.search.space.defaults.COMBINATIONS`: what published recipes have in common. Those without flips are
for digits, letters and whatever else differs in left and right. Shifts are shares of a side, which mean the same on
fewer pixels.
"""
