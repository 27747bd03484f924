"""How the race of a kind of data differs from that of tables."""

from __future__ import annotations

from dataclasses import dataclass

from dashpot.data.kinds import KINDS
from dashpot.search import images, texts
from dashpot.search.config import SearchConfig
from dashpot.search.racing.budget import Steps
from dashpot.search.racing.task import Task


@dataclass(frozen=True)
class RacePlan:
    """What the training budget of a race is planned with.

    Attributes:
        folds: on which it is raced at most.
        share: of the budget, by which it ends; ``kept``: also where what follows needs less.
        most, last, bracket, steps, left: as for :func:`dashpot.search.racing.budget.fit_budget`.
    """

    folds: int
    share: float
    kept: bool = True
    most: float | None = None
    last: Steps = ()
    bracket: int = 0
    steps: int | None = None
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
        return RacePlan(1, share, most=most, last=texts.LAST, bracket=texts.bracket(config), steps=KINDS["text"].steps)
    gone = 0.0 if config.budget is None else min(1.0, spent / config.budget)
    # Its own of what setting up has left, so that a slow or busy machine has a short race, and not none.
    return RacePlan(len(task.folds), config.race + (1 - config.race) * gone, kept=False, left=config.race)
