"""The kinds of data, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from dashpot.data.pictures.images import ImagePreprocessing
from dashpot.data.rows import Rows
from dashpot.data.signals import SignalPreprocessing
from dashpot.data.tables.preprocessing import Preprocessing
from dashpot.data.texts.preprocessing import TextPreprocessing


class Prepares(Protocol):
    """How raw inputs become what a network takes; learned from training rows, and plain JSON when saved."""

    @property
    def kind(self) -> str:
        """The kind's name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row, as a network takes it."""

    @property
    def stage(self) -> Mapping[str, Any]:
        """What the network standardizes first; empty where nothing."""

    @property
    def sizes(self) -> Mapping[str, Any]:
        """What a built-in network is built with, beside the shape of a row and its own options."""

    def ready(self, network: nn.Module) -> None:
        """Give a built-in network the tables that it looks into; nothing where it has none."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns of a table; empty otherwise."""

    def transform(self, inputs: Any) -> np.ndarray:
        """Raw inputs to [rows, *shape]."""

    def check(self) -> None:
        """Raise ValueError where values from a file do not fit together."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""


@dataclass(frozen=True)
class DataKind:
    """A kind of data.

    Attributes:
        name: as techniques name it in what they require.
        inputs: the type of raw inputs; ``axes``: how many they have, where the type does not tell.
        preprocessing: its class, with ``fit(inputs, train, scaling=...)`` and ``from_dict``.
        batch_size: of a single training; None: by the rows.
        steps: of a single training, about.
        lr, schedule: of a single training.
        faster_together: whether its built-in networks train faster in one population than one by one on a CPU.
        one_final: whether a search within a budget on a CPU trains one network apart from the race as its final model,
            larger and for longer, rather than average those of the race.
    """

    name: str
    inputs: type
    preprocessing: Any
    batch_size: int | None
    steps: int
    lr: float
    schedule: str
    faster_together: bool
    one_final: bool = False
    axes: int | None = None


KINDS: Mapping[str, DataKind] = {
    kind.name: kind
    for kind in (
        DataKind("table", Rows, Preprocessing, None, 3000, 1e-3, "cosine", True),
        # A convolutional network takes far more time per row: a third of the steps.
        DataKind("image", np.ndarray, ImagePreprocessing, 64, 1000, 6e-3, "one-cycle", False, True, axes=4),
        DataKind("text", np.ndarray, TextPreprocessing, 64, 800, 2e-3, "one-cycle", False, axes=2),
        DataKind("signal", np.ndarray, SignalPreprocessing, 64, 1500, 6e-3, "one-cycle", False, True, axes=3),
    )
}


def kind_of(inputs: Any) -> DataKind:
    """The kind of raw inputs; images where no other fits."""
    fitting = (
        kind
        for kind in KINDS.values()
        if isinstance(inputs, kind.inputs) and kind.axes in (None, getattr(inputs, "ndim", None))
    )
    return next(fitting, KINDS["image"])
