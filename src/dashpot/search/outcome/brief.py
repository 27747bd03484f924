"""After a race of images: what is done on several folds in the little time that the final network leaves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from dashpot.search.outcome import ablation
from dashpot.search.outcome.gains import FOLDS, Over, over_rows
from dashpot.search.racing.trial import TrainingBudget, Trial
from dashpot.search.setup import Setup

FINALISTS = 2
"""Candidates that must fit on all folds beside the baseline: one alone would be compared with nothing."""
SLACK = 1.2
"""How many times as long as its pace says a training may take."""


def finals_fit(setup: Setup, training: TrainingBudget, pace: float, deadline: float | None) -> bool:
    """Whether the best candidates can be trained on the folds that the race did not have.

    Args:
        pace: seconds of a network for an epoch during the race.
        deadline: ``time.monotonic()`` at which the finals end, or None.
    """
    members = (FINALISTS + 1) * (len(setup.task.folds) - training.folds)
    return deadline is None or time.monotonic() + _seconds(setup, training, pace, members) <= deadline


def explained_on(
    setup: Setup, training: TrainingBudget, chosen: Trial, folds: Sequence[int], pace: float, deadline: float | None
) -> tuple[Sequence[int], Over]:
    """The folds on which the contributions are measured, and what their intervals are over: all of the finalists' where
    the chosen recipe can be trained there without each of its techniques before the deadline, else the first one and
    its rows. Fewer folds are better than fewer epochs: of short trainings augmentation, which pays late, looks bad.
    """
    arms = sum(name.startswith("without") for name in ablation.arms(setup.space, chosen.candidate))
    ends = time.monotonic() + _seconds(setup, training, pace, arms * len(folds))
    # Where not even the finalists have all folds, the time is better spent on the final model.
    few = setup.whole is None and len(folds) < len(setup.task.folds)
    if len(folds) > 1 and not few and (deadline is None or ends <= deadline):
        return folds, FOLDS
    return folds[:1], over_rows(setup.task, folds[0])


def on_folds(trial: Trial, folds: Sequence[int]) -> Trial:
    """The trial with what it has of the first folds."""
    count = len(folds)
    return replace(trial, scores=trial.scores[:count], outputs=trial.outputs[:count], tensors=trial.tensors[:count])


def _seconds(setup: Setup, training: TrainingBudget, pace: float, members: int) -> float:
    """Of so many networks trained to their end, on all cores."""
    return SLACK * pace / setup.faster * training.epochs * members
