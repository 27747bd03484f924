"""What a worker measures of its networks and its machine before it races."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dashpot.search.config import SearchConfig
from dashpot.search.racing import measuring
from dashpot.search.racing.task import Task
from dashpot.search.setup import Note
from dashpot.search.space.space import Candidate
from dashpot.search.storage.study import Store
from dashpot.training.defaults import epochs_for


class Measurements:
    """The precision, in which all workers of a study train alike, and the number of populations of this one.

    Attributes:
        gain: how many times as fast its populations are together as one alone.
        faster: how many times as fast they are after the race as during it.
        record: what was chosen, with the times that decided.
    """

    def __init__(self) -> None:
        self.gain = self.faster = 1.0
        self.record: dict[str, Any] = {}
        self._some: Sequence[Candidate] = ()
        self._batch = 1

    def take(
        self, task: Task, store: Store, some: Sequence[Candidate], batch: int, config: SearchConfig, note: Note
    ) -> Task:
        """The task with what is fastest for these candidates; the first worker tells the others its precision.

        Args:
            batch: rows of a step, for candidates that do not say.
        """
        self._some, self._batch = some, batch
        known, steps = store.get("precision"), math.inf
        if config.budget is None and config.trials is not None:
            rows, members = len(task.folds[0][0]), config.trials * len(task.folds) / 2  # about half is pruned
            steps = members * (config.epochs or epochs_for(rows, batch)) * math.ceil(rows / batch)
        precision, spread = measuring.measured(task, some, batch, known, steps)
        if known is None:
            store.set("precision", precision.to_dict())
            if precision.float32_s is not None:
                note(str(precision))
        self.gain = spread.gain
        self.record = {"precision": precision.to_dict(), "populations": spread.populations}
        return replace(task, bfloat16=precision.bfloat16, populations=spread.populations)

    def again(self, task: Task, store: Store) -> Task:
        """The task with the number of populations once more, for what follows the race and takes about as many
        steps.
        """
        steps, known = store.count("steps"), self.record["precision"]
        spread = measuring.measured(task, self._some, self._batch, known, steps)[1]
        self.faster, self.gain = spread.gain / self.gain, spread.gain
        return replace(task, populations=spread.populations)
