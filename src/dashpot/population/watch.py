"""Early stopping inside a chunk: each member's best weights, and who is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import proxy

import numpy as np
from torch import Tensor

from dashpot.core.errors import UnknownNameError
from dashpot.evaluation.losses import metrics_of
from dashpot.population.states import evaluated_row
from dashpot.techniques.stopping.early_stopping import EarlyStopping, improves

if TYPE_CHECKING:
    from dashpot.population.models import StackedModels


class Watch:
    """The early stopping of each member that has it.

    Attributes:
        done: members that have stopped.
        best_epochs: the epoch of each member's best score, 0 where nothing is watched.
    """

    def __init__(self, chunk: StackedModels) -> None:
        self.chunk = proxy(chunk)
        self.rules = [next((t for t in m.recipe if isinstance(t, EarlyStopping)), None) for m in chunk.members]
        self.scores: list[float | None] = [None] * len(self.rules)
        self.best_epochs = [0] * len(self.rules)
        self.weights: list[Mapping[str, Tensor] | None] = [None] * len(self.rules)
        self.done = np.zeros(len(self.rules), dtype=bool)

    def look(self) -> None:
        """After an epoch: score the watched rows, keep the best weights, and mark who has waited long enough."""
        if not any(self.rules):
            return
        chunk = self.chunk
        rows = [
            m.watch if m.watch is not None and rule else m.rows[:1]
            for m, rule in zip(chunk.members, self.rules, strict=True)
        ]
        outputs = chunk.outputs(rows)
        for k, rule in enumerate(self.rules):
            if rule is None or chunk.members[k].watch is None:
                continue
            y = chunk.data.y[chunk.data.index(chunk.members[k], rows[k])]
            score = _score(rule, outputs[k], y, chunk)
            if improves(score, self.scores[k], rule.mode or "min", rule.min_delta):
                self.scores[k], self.best_epochs[k] = score, chunk.epoch
                self.weights[k] = evaluated_row(chunk, k) if rule.restore else None
            waited = chunk.epoch - self.best_epochs[k]
            self.done[k] = waited > 0 and waited >= max(rule.patience, 1) and chunk.epoch >= rule.min_epochs

    def best(self, k: int) -> Mapping[str, Tensor] | None:
        """The best weights of member k, where it keeps them."""
        return self.weights[k]

    def keep(self, rows: Sequence[int]) -> None:
        lists: tuple[list[Any], ...] = (self.rules, self.scores, self.best_epochs, self.weights)
        for values in lists:
            values[:] = [values[k] for k in rows]
        self.done = self.done[list(rows)]

    def adopt(self, sources: Sequence[tuple[Watch, int]]) -> None:
        """In place k what row ``sources[k][1]`` of another watch knows."""
        for k, (source, row) in enumerate(sources):
            rule = self.rules[k]
            if rule is None:
                continue
            self.scores[k], self.best_epochs[k], self.done[k] = (
                source.scores[row],
                source.best_epochs[row],
                source.done[row],
            )
            self.weights[k] = source.weights[row] if rule.restore else None


def _score(rule: EarlyStopping, out: Tensor, y: Tensor, chunk: StackedModels) -> float:
    if rule.monitor == "val_loss":  # what most watch, without the other scores
        return float(chunk.plan.loss(out, y).double().mean())
    measured = {f"val_{name}": value for name, value in metrics_of(out, y, chunk.plan.loss).items()}
    if rule.monitor not in measured:
        raise UnknownNameError(
            "EarlyStopping.monitor", rule.monitor, measured, "In a population it watches scores of held-out rows."
        )
    return measured[rule.monitor]
