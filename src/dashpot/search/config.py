"""How to search: what a user may choose, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dashpot.core.errors import ConfigError
from dashpot.core.technique import Technique
from dashpot.search.racing import budget as courses
from dashpot.search.racing.trial import HALVING, SCHEDULES
from dashpot.search.space.batch_sizes import sizes_of

KINDS = ("finalists", "folds", "refit")


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        budget: seconds for everything, or None.
        trials: candidates, or None.
        cv: folds.
        metric: what counts in the end; None is accuracy or R2.
        wanted, without: ingredients; see :func:`default_space`.
        networks: options of the network to search or to fix, such as ``"width=64,128"`` or ``"skip=true,false"``.
        sampler: tpe, random, quasi-random, gp or grid.
        schedule: who leaves a race: halving, hyperband, none or population.
        ensemble: ``finalists``, ``folds`` or ``refit``.
        calibrate: fit a temperature; candidates are then ranked by the log-loss that one temperature leaves them.
        explain: measure what each ingredient earned.
        test: keep a test part aside; without it all rows are searched on, and nothing is reported on rows unseen.
        epochs: of a candidate that is never dropped; by default about 3,000 steps.
        batch_size: rows per step: one number, or several to search; by default about a fiftieth of the rows, or twice
            that.
        storage: an Optuna storage URL; by default a journal in the run's folder.
        name: of the study in the store.
    """

    budget: float | None = None
    trials: int | None = None
    cv: int = 5
    metric: str | None = None
    wanted: Sequence[str | Technique] | None = None
    without: Sequence[str] = ()
    networks: Sequence[str] = ()
    sampler: str = "tpe"
    schedule: str = HALVING
    ensemble: str = "finalists"
    calibrate: bool = True
    explain: bool = True
    test: bool = True
    epochs: int | None = None
    batch_size: int | Sequence[int] | None = None
    storage: str | None = None
    name: str = "dashpot"
    seed: int = 0
    device: str = "auto"
    low: bool | None = None

    @property
    def race(self) -> float:
        """The share of the budget for the race."""
        return courses.RACE if self.explain else courses.RACE_ONLY

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: naming the option.
        """
        if self.budget is None and self.trials is None:
            raise ConfigError(
                "budget", "given, or trials", None, "Say how long (--budget 5m) or how many (--trials 64)."
            )
        if self.budget is not None and not (math.isfinite(self.budget) and self.budget > 0):
            raise ConfigError("budget", "a number of seconds > 0", self.budget)
        if self.trials is not None and self.trials < 2:
            raise ConfigError("trials", "a whole number >= 2", self.trials)
        if self.cv < 2:
            raise ConfigError("cv", "a whole number >= 2", self.cv)
        if self.schedule not in SCHEDULES:
            raise ConfigError("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        sizes_of(self.batch_size)
        if self.ensemble not in KINDS:
            raise ConfigError("ensemble", f"one of {', '.join(KINDS)}", self.ensemble)
