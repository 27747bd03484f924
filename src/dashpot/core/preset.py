"""``Preset``: how a technique takes part in a search where the user names no techniques."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ANY = "any"
"""Whatever the data are."""


@dataclass(frozen=True)
class Preset:
    """A technique's place in the default search space, declared on its class as ``preset = Preset(...)``; of
    several, ``preset = (Preset(...), Preset(...))``, the first that suits the data counts.

    Attributes:
        fields: ranges to search and values to keep, as on the command line: ``"p=0.05..0.5"`` or
            ``"p=0.05..0.5,on=hidden"``; fields that are not mentioned are searched in their own default ranges.
        modalities: kinds of data that it suits: any of ``"table"``, ``"image"`` and ``"tensor"``, or ``"any"``.
        pictures: of images those that it suits: ``"photo"``, ``"glyph"`` (digits, letters, drawings), or ``"any"``.
        tasks: ``"classification"``, ``"regression"`` or both.
        order: its place in the space, low first; equal ones by name.
        points: starting points by name: fields and their values, tried alone on the baseline early in a search.

    Example:
        >>> Preset("p=0.05..0.5").suits("table", "regression")
        True
        >>> Preset("std=0.01..0.3", modalities=("table",)).suits("image", "classification")
        False
        >>> Preset(modalities=("image",), pictures=("photo",)).suits("image", "classification", "glyph")
        False
    """

    fields: str = ""
    modalities: tuple[str, ...] = (ANY,)
    tasks: tuple[str, ...] = ("classification", "regression")
    order: int = 100
    points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pictures: tuple[str, ...] = (ANY,)

    def suits(self, modality: str, task: str, pictures: str | None = None) -> bool:
        """Whether it is in the default space for such data; ``pictures`` None: it is not known which."""
        seen = pictures is None or ANY in self.pictures or pictures in self.pictures
        return seen and task in self.tasks and (ANY in self.modalities or modality in self.modalities)
