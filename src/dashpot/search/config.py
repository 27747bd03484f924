"""``SearchConfig``: the options of a search, and their checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole
from dashpot.core.technique import Technique
from dashpot.data.pictures.kind import PICTURE_KINDS
from dashpot.search.arguments import rate
from dashpot.search.racing import budget as budgets
from dashpot.search.racing.trial import HALVING, SCHEDULES
from dashpot.search.space.batch_sizes import sizes_of
from dashpot.training.versions import TTA

ENSEMBLES = ("finalists", "folds", "refit")


@dataclass(frozen=True)
class SearchConfig:
    """How :func:`dashpot.tune` searches.

    Args:
        budget: seconds for everything, or None.
        trials: candidates, at least 2, or None. With trials alone the same search gives the same result on one machine;
            a budget depends on how fast it is.
        cv: folds, at least 2; None is 5, also where a class has fewer rows: it is then judged in as many folds as it
            has rows. A number that is given must not be above the rows of the smallest class.
        metric: the score to optimize; None is accuracy or R2.
        positive: the class that ``f1`` is of, by name; None is the less frequent one of all rows (of equals the second
            in order). It is the same in every fold, and in the test part.
        recipe: techniques to search, as text (``"l1:strength=1e-6..1e-2"``, ``"mixup"``, ``"dropout:p=0.2"``) or as
            techniques; None is the default space.
        without: names of techniques to leave out of it.
        lr: the learning rate, or its range ``(low, high)``.
        networks: options of a built-in network to search or to fix, such as ``"width=64,128"`` or
            ``"skip=true,false"``.
        sampler: tpe, random, quasi-random, gp or grid.
        schedule: the pruning of a race: ``"halving"`` (all but a third pruned, twice), ``"hyperband"`` (in every second
            and third race later, or not at all), ``"none"``, or ``"population"`` (none pruned; the worst take over
            networks of the best, with other strengths, while they train).
        ensemble: ``"finalists"``, ``"folds"`` (of the chosen candidate) or ``"refit"`` (one network on all rows but the
            test part).
        calibrate: fit a temperature to held-out predictions; candidates are then ranked by the log-loss that one
            temperature leaves them.
        explain: measure the contribution of each technique: retrain the chosen candidate without each, and with each
            alone.
        test: keep a fifth of the rows for the report; without it all rows are searched on, and nothing is reported on
            rows unseen.
        epochs: of a candidate that is never pruned; by default about 3,000 steps.
        batch_size: rows per step: one number, or several to search; by default about a fiftieth of the rows, or twice
            that.
        pictures: of images ``"photo"`` or ``"glyph"`` (digits, letters, drawings), which decides what the default space
            does to them; by default found from the pixels (:func:`dashpot.data.pictures.kind.picture_kind`).
        storage, study: an Optuna storage URL and the name in it, to share the search among processes and machines that
            make the same call; by default a journal in the run's folder.
        seed: of the split, the folds and the training.
        device: ``"auto"`` takes a GPU if there is one.
        bfloat16: wide products in bfloat16 while training; None: where a measurement says that it pays.
        tta: test-time augmentation of the final model, for images: ``"auto"`` (the exact mean over both mirror images
            where the chosen recipe flips and held-out rows are answered better so), ``"none"``, or in any form that
            :meth:`dashpot.TTA.of` reads.

    Raises:
        ConfigError: by :meth:`check`, which :func:`dashpot.tune` calls.

    Example:
        >>> SearchConfig(cv=3, batch_size=(32, 64)).merged(trials=8).check().trials
        8
    """

    budget: float | None = None
    trials: int | None = None
    cv: int | None = None
    metric: str | None = None
    positive: str | None = None
    recipe: Sequence[str | Technique] | None = None
    without: Sequence[str] = ()
    lr: float | tuple[float, float] | None = None
    networks: Sequence[str] = ()
    sampler: str = "tpe"
    schedule: str = HALVING
    ensemble: str = "finalists"
    calibrate: bool = True
    explain: bool = True
    test: bool = True
    epochs: int | None = None
    batch_size: int | Sequence[int] | None = None
    pictures: str | None = None
    tta: Any = "auto"
    storage: str | None = None
    study: str = "dashpot"
    seed: int = 0
    device: str = "auto"
    bfloat16: bool | None = None

    @property
    def race(self) -> float:
        """The share of the budget for the race."""
        return budgets.RACE if self.explain else budgets.RACE_ONLY

    def merged(self, **values: Any) -> SearchConfig:
        """The configuration with some values set; None is not set.

        Raises:
            ConfigError: a value is set twice and differs.
        """
        given = {name: value for name, value in values.items() if value is not None}
        defaults = {spec.name: spec.default for spec in fields(self)}
        for name, value in given.items():
            own = getattr(self, name)
            if own != defaults[name] and own != value:
                raise ConfigError(name, f"the same as in config ({own!r})", value, "Give it once.")
        return replace(self, **given)

    def check(self) -> SearchConfig:
        """Check all values; returns itself.

        Raises:
            ConfigError: naming the parameter.
        """
        if self.budget is None and self.trials is None:
            raise ConfigError(
                "budget", "given, or trials", None, "Say how long (--budget 5m) or how many (--trials 64)."
            )
        if self.budget is not None and not (math.isfinite(self.budget) and self.budget > 0):
            raise ConfigError("budget", "a number of seconds > 0", self.budget)
        for name, low in (("trials", 2), ("cv", 2), ("epochs", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None:
                check_whole(name, value, low=low)
        if self.schedule not in SCHEDULES:
            raise ConfigError("schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        sizes_of(self.batch_size)
        if self.lr is not None:
            rate(self.lr)
        if self.pictures not in (None, *PICTURE_KINDS):
            raise ConfigError("pictures", f"one of {', '.join(PICTURE_KINDS)} or None", self.pictures)
        if self.tta != "auto":
            TTA.of(self.tta)
        if self.ensemble not in ENSEMBLES:
            raise ConfigError("ensemble", f"one of {', '.join(ENSEMBLES)}", self.ensemble)
        return self
