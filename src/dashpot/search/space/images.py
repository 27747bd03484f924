"""Images: what the default space does to which pictures, and the combinations that are tried first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dashpot.data import Prepared
from dashpot.search.space.technique import TechniqueSpace

Fields = Mapping[str, Mapping[str, Any]]
DARK = 0.02
"""A ground up to here is as good as zero."""
DECAY: Fields = {"weight-decay": {"strength": 0.05}}
SMOOTH: Fields = {"label-smoothing": {"smoothing": 0.1}}
EMA: Fields = {"ema": {"decay": 0.98}}
MIXED: Fields = {"mixup": {"alpha": 0.2}}
CUT: Fields = {"cut-mix": {"p": 0.5}}
HOLES: Fields = {"cutout": {"fraction": 0.3}}
CROP: Fields = {"random-crop": {"padding": 0.125}}
FLIP_AND_CROP: Fields = {"horizontal-flip": {}, **CROP}
SHIFT: Fields = {"translation": {"fraction": 0.08}}
AFFINE: Fields = {**SHIFT, "rotation": {"degrees": 10.0}, "zoom": {"scale": 0.1}}
ELASTIC: Fields = {"elastic": {"alpha": 0.025}}
COLOURS: Fields = {"color-jitter": {"strength": 0.2}}
POLICY: Fields = {"rand-augment": {"magnitude": 4.0}}
Combinations = Mapping[str, tuple[Fields, Mapping[str, Any]]]
PHOTOS: Combinations = {
    "flipped, cropped, smoothed": ({**FLIP_AND_CROP, **DECAY, **SMOOTH}, {"lr": 6e-3}),
    "flipped, cropped, averaged": ({**FLIP_AND_CROP, **DECAY, **SMOOTH, **EMA}, {"lr": 6e-3}),
    "cropped": ({**CROP, **DECAY, **SMOOTH}, {}),
    "flipped, cropped, with holes": ({**FLIP_AND_CROP, **DECAY, **SMOOTH, **HOLES}, {}),
    "flipped, cropped, mixed": ({**FLIP_AND_CROP, **DECAY, **MIXED}, {"lr": 5e-3}),
    "flipped, cropped, pieces mixed": ({**FLIP_AND_CROP, **DECAY, **SMOOTH, **CUT}, {"lr": 5e-3}),
    "flipped, cropped, colours": ({**FLIP_AND_CROP, **DECAY, **SMOOTH, **COLOURS}, {}),
    "flipped, cropped, by a policy": ({**FLIP_AND_CROP, **DECAY, **SMOOTH, **POLICY}, {}),
}
GLYPHS: Combinations = {
    "shifted, turned, zoomed": ({**AFFINE, **DECAY}, {}),
    "shifted, smoothed": ({**SHIFT, **DECAY, **SMOOTH}, {}),
    "shifted, turned, zoomed, averaged": ({**AFFINE, **DECAY, **EMA}, {"lr": 5e-3}),
    "bent, shifted, turned, zoomed": ({**AFFINE, **ELASTIC, **DECAY}, {}),
    "shifted, turned, zoomed, mixed": ({**AFFINE, **DECAY, **MIXED}, {"lr": 5e-3}),
}
"""As :data:`dashpot.search.space.defaults.COMBINATIONS`: what published recipes for photographs, and for digits and
letters, have in common; those that were good most often in short trainings come first. All moves are parts of a side,
which mean the same on fewer pixels.
"""
ALTERNATIVES = (("mixup", "cut-mix"), ("rand-augment", "color-jitter"))
"""Pairs of the default space of which a candidate has at most one: they do much the same."""


def combinations_for(names: Collection[str]) -> Combinations | None:
    """Those for images, where a space has such techniques; photographs are what is flipped or cropped."""
    if "random-crop" in names or "horizontal-flip" in names:
        return PHOTOS
    return GLYPHS if "translation" in names else None


def alternatives_in(names: Collection[str]) -> list[frozenset[str]]:
    """The :data:`ALTERNATIVES` that are all there."""
    return [frozenset(pair) for pair in ALTERNATIVES if set(pair) <= set(names)]


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
