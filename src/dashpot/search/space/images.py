"""Images: what the default space does to which pictures, and the combinations that are tried first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dashpot.data import Prepared
from dashpot.search.space.technique import TechniqueSpace

Fields = Mapping[str, Mapping[str, Any]]
DARK = 0.02
"""A ground up to here is as good as zero."""
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


def on_light_ground(parts: Sequence[TechniqueSpace]) -> list[TechniqueSpace]:
    """The techniques, with edges repeated where a preset would move zeros in: dark bars beside a glyph on white."""
    found = []
    for part in parts:
        base: Any = part.base
        if getattr(base, "border", None) == "zero":
            base = dataclasses.replace(base, border="replicate")
        found.append(dataclasses.replace(part, base=base))
    return found


def note_pictures(prepared: Prepared, said: bool, note: Callable[[str], None]) -> None:
    """Say which pictures images are taken for, and what that means for the default techniques."""
    kind = getattr(prepared.preprocessing, "pictures", None)
    if kind is None:
        return
    by = "as you said" if said else "by their pixels"
    other = "" if said else f"; --pictures {'photo' if kind == 'glyph' else 'glyph'} (pictures=) says otherwise"
    does = {
        "glyph": "glyphs (digits, letters, drawings): the default techniques do not flip them",
        "photo": "photographs: the default techniques may flip them and change their colours",
    }
    note(f"the images are, {by}, {does[kind]}{other}")
