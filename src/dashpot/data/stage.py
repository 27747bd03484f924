"""What a built-in network is built with, for the kinds of data whose networks need nothing but a first stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


class Staged:
    """The part of :class:`dashpot.data.kinds.Prepares` that tables, images and signals have in common."""

    @property
    def stage(self) -> Mapping[str, Any]:
        """What the network standardizes first; empty where nothing."""
        return {}

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Those of :attr:`stage`."""
        return self.stage

    def ready(self, network: nn.Module) -> None:
        """Nothing: the network has no tables."""
