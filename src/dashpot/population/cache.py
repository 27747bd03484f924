"""``ArchitectureCache``: what populations measured of architectures, for later ones on the same data and loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dashpot.population.program.tracer import Recording

Size = tuple[int, int | None]
"""Members of a stack, 0 where stacking would gain nothing; and classes."""


@dataclass
class ArchitectureCache:
    """By the name of an architecture and what else it depends on. The races of a search use the same architectures
    many times.

    Attributes:
        sizes: of architecture, rows and batch size.
        programmed: of architectures that run as a program, whatever the number of rows and the batches.
        seen: the steps of an architecture, None where it does not run as a program.
        stacked: architectures whose stack was checked against the networks alone.
    """

    sizes: dict[Any, Size] = field(default_factory=dict)
    programmed: dict[Any, Size] = field(default_factory=dict)
    seen: dict[Any, Recording | None] = field(default_factory=dict)
    stacked: set[Any] = field(default_factory=set)
