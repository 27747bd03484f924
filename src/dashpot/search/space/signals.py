"""Combinations that are tried first on signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Mapping[str, Any]]

DECAY: Fields = {"weight-decay": {"strength": 0.05}}
SMOOTH: Fields = {"label-smoothing": {"smoothing": 0.1}}
EMA: Fields = {"ema": {"decay": 0.98}}
SHIFT: Fields = {"time-shift": {"fraction": 0.1, "border": "replicate"}}
ROLL: Fields = {"time-shift": {"fraction": 1.0, "border": "wrap"}}
BENT: Fields = {"amplitude-scale": {"strength": 0.2}, "drift": {"strength": 0.4}}
NOISE: Fields = {"input-noise": {"std": 0.05}}
COMBINATIONS: Mapping[str, tuple[Fields, Mapping[str, Any]]] = {
    "rolled, bent, noisy, smoothed": ({**ROLL, **BENT, **NOISE, **DECAY, **SMOOTH}, {"lr": 6e-3}),
    "shifted, noisy": ({**SHIFT, **NOISE, **DECAY}, {}),
    "shifted, stretched, scaled, smoothed": (
        {**SHIFT, "time-stretch": {"scale": 0.15}, "amplitude-scale": {"strength": 0.2}, **DECAY, **SMOOTH},
        {"lr": 5e-3},
    ),
    "rolled, bent, noisy, averaged": ({**ROLL, **BENT, **NOISE, **DECAY, **EMA}, {"lr": 4e-3}),
    "shifted, mixed": ({**SHIFT, **DECAY, "mixup": {"alpha": 0.2}, **EMA}, {}),
    "shifted, masked, smoothed": ({**SHIFT, "time-mask": {"fraction": 0.2}, **DECAY, **SMOOTH}, {"lr": 5e-3}),
}
"""As :data:`dashpot.search.space.defaults.COMBINATIONS`: for signals whose beginning means nothing, such as periods,
and for those that were cut out by an event.
"""
