"""Candidates trained again with other seeds, as far as the time allows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from dashpot.search.outcome import ablation, ensemble
from dashpot.search.racing import checkpoints
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.setup import Setup

SEEDS, NETWORKS = 4, 60
"""Seeds more of the candidates in the final model, and their networks, at most: they are for time that would be left
over.
"""
REPEATS = 0.15
"""The share of the budget that must be left for the best finalists to be trained again with another seed."""


@dataclass(frozen=True)
class Seeds:
    """Candidates trained again with other seeds, as far as the time allows.

    Attributes:
        every: the folds.
        end: ``time.monotonic()`` at which it ends, or None.
        pace: seconds of a member for all its epochs.
    """

    setup: Setup
    training: TrainingBudget
    every: Sequence[int]
    end: float | None
    pace: float

    def again(self, finalists: Sequence[Trial], choice: ensemble.Choice, baseline: Trial | None) -> list[Trial]:
        """The best two, the one chosen so far and the baseline with a second seed; nothing where the time does not
        allow it.
        """
        setup, config = self.setup, self.setup.config
        if setup.hurried:
            return []
        numbers = {
            *[r.number for r in sorted(finalists, key=lambda r: r.score)[:2]],
            choice.chosen.number,
            *([baseline.number] if baseline else []),
        }
        wanted = [r for r in finalists if r.number in numbers]
        if self.end is not None and config.budget is not None:
            now = time.monotonic()
            left = config.budget - (now - setup.started)
            # The contribution of each technique comes after this, and must not suffer.
            later = len(ablation.arms(setup.space, choice.chosen.candidate)) if config.explain else 0
            untrained = self._untrained(wanted, 1)
            late = (
                left < REPEATS * config.budget
                or 1.1 * self.pace * len(self.every) * (len(untrained) + later) > self.end - now
            )
            if untrained and late:
                return []
        whole = self._trained(wanted, 1)
        return whole if len(whole) > 1 else []

    def more(self, finalists: Sequence[Trial], choice: ensemble.Choice) -> list[Trial]:
        """Further seeds of the candidates in the final model while time is left: they reduce the variance of the final
        model, and change no comparison.
        """
        found: list[Trial] = []
        if self.setup.hurried or self.end is None or self.setup.config.ensemble == "refit":
            return found
        counts = ensemble.picked(self.setup.task, finalists, choice, self.every, self.setup.config.ensemble)
        first = {r.number: r for r in reversed(finalists)}
        wanted = [first[number] for number in sorted(counts, key=lambda number: -counts[number])]
        begin = 1 + max(r.repeat for r in finalists)
        each = 1.3 * self.pace * len(self.every)  # a few members in a stack are slower than many
        for repeat in range(begin, begin + SEEDS):
            began = time.monotonic()
            fits = int((self.end - began) / (1.1 * each)) if each else len(wanted)
            some = (
                wanted if not self._untrained(wanted, repeat) else wanted[: max(fits, 0)]
            )  # what is on the disk costs nothing
            if not some or len(found) * len(self.every) >= NETWORKS:
                break
            found += (whole := self._trained(some, repeat))
            if len(whole) < len(some):
                break
            each = (time.monotonic() - began) / len(some)
        return found

    def _untrained(self, trials: Sequence[Trial], repeat: int) -> list[Trial]:
        """Those of which this seed is not on the disk; after a kill in the report, all may be."""
        return [r for r in trials if checkpoints.folds_of(self.setup.folder, r.number, repeat) < len(self.every)]

    def _trained(self, trials: Sequence[Trial], repeat: int) -> list[Trial]:
        """Those whose networks of all folds were trained to their end."""
        setup = self.setup
        wanted = [r.untrained(repeat) for r in trials]
        found = with_networks(
            setup.task, self.training, setup.folder, wanted, folds=self.every, deadline=self.end, say=setup.say
        )
        return [r for r in found if len(r.tensors) == len(self.every) and r.through(r.planned or self.training.epochs)]
