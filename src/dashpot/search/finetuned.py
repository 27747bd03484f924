"""An encoder that is trained further, beside a search over texts: one more candidate of the final model.

Its epochs take a hundred times as long as those of the networks of the race, so it is not raced with them: it has
half of the time, few epochs, and as many folds as there is time for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dashpot import nets
from dashpot.core.errors import ConfigError, UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.search.config import SearchConfig
from dashpot.search.networks import named
from dashpot.search.racing import budget as budgets
from dashpot.search.racing.networks import with_networks
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import Say, TrainingBudget, Trial
from dashpot.search.space.space import Candidate
from dashpot.search.space.texts import LR_DEFAULT
from dashpot.search.storage.study import Store

OPTIONS = {"net": "textencoder"}
NUMBER = -100
"""Of the trial, below those of linear models."""
EPOCHS = 3
SHARE = 0.5
"""Of the time that setting up has left, at most."""
SLACK = 1.15
"""How many times as long as its pace says a training may take."""
KEY = "fine-tuning"
RECIPE = "label-smoothing:smoothing=0.05"


@dataclass(frozen=True)
class Plan:
    """How the encoder is trained.

    Attributes:
        epochs, folds: of one network each, and how many.
        seconds: that they take; 0 where there is no budget.
    """

    epochs: int
    folds: int
    seconds: float


def has_tokens(task: Task) -> bool:
    """Whether an encoder's tokens stand in front of the rows."""
    try:
        return isinstance(task.make(dict(OPTIONS)), nets.TextEncoder)
    except (UnknownNameError, ConfigError, TypeError):  # a network of the user's own takes other options
        return False


def fits(seconds: float, folds: int, budget: float, spent: float, epochs: int = EPOCHS) -> Plan:
    """As many epochs, and then folds, as half of the time that is left allows.

    Args:
        seconds: of a network for an epoch of a fold.
        folds, epochs: at most.
        spent: seconds that are gone already.

    Raises:
        ConfigError: not even one epoch on one fold; it says what that needs.

    >>> fits(10.0, 5, 100.0, 0.0)
    Plan(epochs=3, folds=1, seconds=34.5)
    >>> fits(1.0, 5, 100.0, 0.0)
    Plan(epochs=3, folds=5, seconds=17.25)
    """
    left, each = SHARE * (budget - spent), SLACK * seconds
    if each > left:
        raise ConfigError(
            "budget",
            f"at least {math.ceil(spent + each / SHARE)} s: after {spent:.1f} s for setting up, one epoch of the"
            f" encoder on one fold takes {seconds:.1f} s, and it has half of the time",
            f"{budget:g} s",
            "Give more time or fewer rows, or leave out frozen=false.",
        )
    epochs = min(epochs, int(left / each)) if each else epochs
    folds = min(folds, int(left / (each * epochs))) if each else folds
    return Plan(epochs, folds, each * epochs * folds)


def within(task: Task, config: SearchConfig, store: Store, batch_size: int, started: float) -> SearchConfig:
    """The configuration of what is left for the other networks, where an encoder is trained beside them: its training
    is planned, by its pace, for all workers of the study.

    Raises:
        ConfigError: the budget is too short, or the final model is not to have several candidates.
    """
    if task.modality != "text" or "net" in named(config.networks) or not has_tokens(task):
        return config
    if config.ensemble != "finalists":
        way = "Search over it with --net net=textencoder."
        raise ConfigError("ensemble", "finalists where an encoder is trained beside the race", config.ensemble, way)
    epochs = min(EPOCHS, config.epochs or EPOCHS)
    plan = Plan(epochs, len(task.folds), 0.0)
    if config.budget is not None:
        seconds = budgets.pace(replace(task, folds=task.folds[:1]), [candidate()], batch_size).seconds
        plan = fits(seconds, len(task.folds), config.budget, time.monotonic() - started, epochs)
    store.set(KEY, asdict(plan))
    return config if config.budget is None else replace(config, budget=config.budget - plan.seconds)


def candidate() -> Candidate:
    """What is trained."""
    return Candidate(Recipe.coerce(RECIPE), LR_DEFAULT, OPTIONS, {"trained further": True})


def planned(store: Store) -> Plan | None:
    """What :func:`within` planned; None where no encoder is trained beside the race."""
    found = store.get(KEY)
    return None if found is None else Plan(**found)


def finetuned_trials(
    task: Task,
    training: TrainingBudget,
    folder: Path,
    plan: Plan | None,
    *,
    deadline: float | None,
    say: Say,
    note: Callable[[str], None],
) -> list[Trial]:
    """The encoder as a complete trial on the folds of its plan, or on as many as there is time for; from files where it
    was trained before. Empty where there is none, or where it fails, which is said.
    """
    if plan is None:
        return []
    own = replace(training, epochs=plan.epochs, rungs=())
    fresh, folds = Trial(NUMBER, candidate(), planned=plan.epochs), range(plan.folds)
    found = with_networks(task, own, folder, [fresh], folds=folds, deadline=deadline, say=say)
    if not found or not math.isfinite(found[0].score):
        note("the encoder that was to be trained further is left out: its training failed or had no time.")
        return []
    trial, plural = found[0], "s" * (len(found[0].tensors) > 1)
    measure = "log loss" if task.classes else "RMSE"
    note(
        f"the encoder, trained further for {trial.epochs} epoch{'s' * (trial.epochs > 1)} on {len(trial.tensors)}"
        f" fold{plural}: {measure} {trial.score:.4g} on held-out rows"
    )
    return found
