"""Scores of a member's held-out rows, each computed when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from torch import Tensor

from dashpot.core.running.criteria import own_number
from dashpot.evaluation.losses import Criterion, metrics_of
from dashpot.evaluation.refined import REFINED, refinable, refined_loss
from dashpot.population.members import Data


class HeldOutScores(Mapping[str, float]):
    """``val_loss``, the usual one, at little cost; the other scores, such as ``val_accuracy``, on demand."""

    def __init__(self, out: Tensor, data: Data, rows: Tensor, loss: Criterion) -> None:
        self._out, self._y, self._weight, self._loss = out, data.y[rows], data.weights(rows), loss
        self._targets = data.targets

    @cached_property
    def _all(self) -> dict[str, float]:
        found = metrics_of(self._out, self._y, self._loss, weight=self._weight, targets=self._targets)
        return {f"val_{name}": value for name, value in found.items()}

    def __getitem__(self, name: str) -> float:
        if name == "val_loss" and self._weight is None:
            return float(own_number(self._loss, self._out, self._y).double().mean())
        if name == f"val_{REFINED}" and refinable(self._y, self._targets):
            return refined_loss(self._out, self._y, weight=self._weight, targets=self._targets)
        return self._all[name]

    def __contains__(self, name: object) -> bool:
        refined = name == f"val_{REFINED}" and refinable(self._y, self._targets)
        return name == "val_loss" or refined or name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
