"""How the race of a kind of data differs from that of tables."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dashpot.data.kinds import KINDS
from dashpot.search import images, texts
from dashpot.search.config import SearchConfig
from dashpot.search.racing import budget as budgets
from dashpot.search.racing.budget import Steps
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import TrainingBudget
from dashpot.search.storage.study import Store

AGAIN = 0.6
"""The share of the time that is left by which a race that begins anew ends at the latest."""


@dataclass(frozen=True)
class RacePlan:
    """What the training budget of a race is planned with.

    Attributes:
        folds: on which it is raced at most.
        share: of the budget, by which it ends; ``kept``: also where what follows needs less.
        most, last, bracket, steps, longest, parallel, left: as for :func:`dashpot.search.racing.budget.fit_budget`.
    """

    folds: int
    share: float
    kept: bool = True
    most: float | None = None
    last: Steps = ()
    bracket: int = 0
    steps: int | None = None
    longest: int | None = None
    parallel: int = budgets.PARALLEL
    left: float | None = None

    def lasting(self, seconds: float, budget: float) -> float:
        """The share by which a race ends that takes until so many seconds are gone: of long texts the smallest may
        take longer than its own share.
        """
        return max(self.share, min(self.most or self.share, seconds / budget))


def race_plan(task: Task, config: SearchConfig, spent: float, *, apart: bool) -> RacePlan:
    """The plan for a kind of data.

    Args:
        spent: seconds that setting up took.
        apart: the final network is trained apart from the race.
    """
    if apart:
        share = images.race_share(spent, config.budget)
        return RacePlan(1, share, last=images.LAST, bracket=images.bracket(config))
    if texts.of_texts(task):
        share = texts.race_share(spent, config.budget)
        most = max(share, texts.ENDS[0])
        return RacePlan(
            1,
            share,
            most=most,
            last=texts.LAST,
            bracket=texts.bracket(config),
            steps=KINDS["text"].steps,
            longest=texts.longest(len(task.folds[0][0])),
            parallel=texts.PARALLEL,
        )
    gone = 0.0 if config.budget is None else min(1.0, spent / config.budget)
    # Its own of what setting up has left, so that a slow or busy machine has a short race, and not none.
    return RacePlan(len(task.folds), config.race + (1 - config.race) * gone, kept=False, left=config.race)


def prolonged(store: Store, training: TrainingBudget, started: float, budget: float | None) -> TrainingBudget:
    """The training budget of a study that is joined or resumed. Where the process was killed before any candidate had
    a score, the race begins anew, and its end moves: setting up once more has taken its time.

    Args:
        started: ``time.monotonic()`` from which the budget counts.
        budget: seconds that are left to the whole search.
    """
    if budget is None or any(trial.state.is_finished() for trial in store.trials()):
        return training
    gone = time.monotonic() - started
    pace = budgets.Pace(float(store.get("pace") or 0.0))
    ends = gone + min(budgets.seconds_of(training, pace), AGAIN * max(0.0, budget - gone))
    if ends > float(store.get("share") or 0.0) * budget:
        store.set("share", ends / budget)
    return training
