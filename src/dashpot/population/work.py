"""Threads for the steps of a population that runs by itself; a race spreads populations over threads instead."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dashpot.core.threads import most, threads_for
from dashpot.population.members import Data, Member, Plan, initial
from dashpot.training.work import step_operations


class Work:
    """How much a step of some members is; it is looked at once, since members of a population are much alike."""

    def __init__(self, data: Data, plan: Plan) -> None:
        self._data, self._plan, self._each = data, plan, 0.0

    def threads(self, members: Sequence[Member]) -> int:
        """Threads for a step of all of them; no more than are allowed already."""
        if self._data.device.type != "cpu" or most() == 1 or not members:
            return torch.get_num_threads()
        if not self._each:
            one = members[0]
            x, _ = self._data.take(self._data.index(one, one.rows[:2]))
            self._each = step_operations(initial(one), x, self._plan.batch_of(one))
        return threads_for(self._each * len(members))
