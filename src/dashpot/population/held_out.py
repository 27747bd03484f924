"""Scores of a member's held-out rows, each computed when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from torch import Tensor

from dashpot.evaluation.losses import Criterion, metrics_of


class HeldOutScores(Mapping[str, float]):
    """``val_loss``, the usual one, at little cost; the other scores, such as ``val_accuracy``, on demand."""

    def __init__(self, out: Tensor, y: Tensor, loss: Criterion, targets: str) -> None:
        self._out, self._y, self._loss, self._targets = out, y, loss, targets

    @cached_property
    def _all(self) -> dict[str, float]:
        found = metrics_of(self._out, self._y, self._loss, targets=self._targets)
        return {f"val_{name}": value for name, value in found.items()}

    def __getitem__(self, name: str) -> float:
        if name == "val_loss":
            return float(self._loss(self._out, self._y).double().mean())
        return self._all[name]

    def __contains__(self, name: object) -> bool:
        return name == "val_loss" or name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
