"""A candidate in a race, its course, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from dashpot.search.space.space import Candidate

ETA = 3
"""A third goes on at each rung (Li et al., "Hyperband", JMLR 2018)."""
LOOKS = 12
"""Scores between the rungs, for the figure; they decide nothing."""
HALVING, HYPERBAND, NONE, POPULATION = SCHEDULES = ("halving", "hyperband", "none", "population")
"""Who leaves a race, and when; see :mod:`dashpot.search.racing.pruning`."""


@dataclass(frozen=True)
class TrainingBudget:
    """How long, and in what batches.

    Attributes:
        epochs: of a candidate that is never dropped.
        batch_size: rows per step.
        rungs: epochs after which the weaker ones leave.
        folds: on how many folds the race is run; finalists are trained on the rest afterwards.
        lanes: candidates per race.
        schedule: one of :data:`SCHEDULES`.
        bracket: how many of the earlier rungs it leaves out; see :func:`dashpot.search.racing.pruning.bracket`.
    """

    epochs: int
    batch_size: int
    rungs: tuple[int, ...]
    folds: int
    lanes: int
    schedule: str = HALVING
    bracket: int = 0


@dataclass(frozen=True)
class Stage:
    """What a network was trained as, from so many epochs on."""

    epoch: int
    candidate: Candidate


@dataclass
class Trial:
    """A candidate in a race, and what became of it.

    Attributes:
        number: its number in the store.
        candidate: what it is; where its strengths changed, what it was in the end.
        state: ``running``, ``complete``, ``pruned`` or ``failed``.
        epochs: trained.
        planned: epochs over which its learning rate fell: those of its race.
        best_epoch: the look with the lowest mean score over the folds: one number for all folds, a setting like the
            others.
        scores: the proper score of each fold then.
        history: (epoch, mean score) of the network it ended as, from its first epoch, whoever it was then.
        outputs: for each fold the outputs for its validation rows then.
        tensors: for each fold the weights then.
        lineage: where it took over another's network (population-based training), all stages of that network from epoch
            0 on, the last one being ``candidate``; else nothing. One network that is trained through them is this one.
        ended: before all its epochs, since its score had only become worse.
        asked: the best score as the candidate that the store asked for, where it became another: it is what a sampler
            should learn.
    """

    number: int
    candidate: Candidate
    state: str = "running"
    epochs: int = 0
    planned: int = 0
    best_epoch: int = 0
    scores: list[float] = field(default_factory=list)
    train_score: float | None = None
    history: list[tuple[int, float]] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list, repr=False)
    tensors: list[Mapping[str, Tensor]] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    repeat: int = 0
    lineage: list[Stage] = field(default_factory=list)
    asked: float | None = None
    ended: bool = False

    @property
    def score(self) -> float:
        """The mean over the folds; infinite where one of them failed."""
        mean = float(np.mean(self.scores)) if self.scores else math.inf
        return mean if math.isfinite(mean) else math.inf

    @property
    def stages(self) -> list[Stage]:
        """What its network was trained as, from the beginning."""
        return self.lineage or [Stage(0, self.candidate)]

    def through(self, epochs: int) -> bool:
        """Whether it was trained for all of so many epochs, but for those that would have been of no use."""
        return self.ended or self.epochs >= epochs

    def untrained(self, repeat: int | None = None) -> Trial:
        """The same candidate with the same stages, to be trained again; perhaps with another seed."""
        other = self.repeat if repeat is None else repeat
        return Trial(self.number, self.candidate, planned=self.planned, repeat=other, lineage=list(self.lineage))

    def forget(self, before: int) -> None:
        """It goes on as another candidate: what was best until now was not its own."""
        self.history = [(epoch, score) for epoch, score in self.history if epoch < before]
        self.best_epoch, self.scores, self.outputs, self.tensors = 0, [], [], []


Report = Callable[[Trial], None]
Say = Callable[[str, Sequence[Trial], int], None]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """After a ninth and a third of the epochs, where that is a whole epoch."""
    return tuple(sorted({max(1, round(epochs / ETA**k)) for k in (2, 1)} - {epochs}))


def task_schedule(progress: float) -> float:
    """Flat for half of the training, then a cosine to zero; a short rise at the start.

    A candidate that is dropped early was then judged at the learning rate at which the others went on.
    """
    if progress < 0.02:
        return 0.1 + 0.9 * progress / 0.02
    return 1.0 if progress < 0.5 else (1 + math.cos(math.pi * (progress - 0.5) / 0.5)) / 2


def stages(runner: Trial) -> list[dict[str, Any]]:
    """The schedule of strengths of a network for which they changed while it trained, as plain JSON; else nothing."""
    return [{"epoch": stage.epoch, "params": dict(stage.candidate.params)} for stage in runner.lineage]


def summary(runner: Trial, names: Mapping[int, str], metric: float | None) -> dict[str, Any]:
    """A runner as plain JSON for the report."""
    scores = [s for s in runner.scores if math.isfinite(s)]
    fine = len(scores) == len(runner.scores) and scores
    return {
        "number": runner.number,
        "name": names.get(runner.number, ""),
        "recipe": str(runner.candidate.recipe) if runner.candidate.recipe else "no technique",
        "params": dict(runner.candidate.params),
        "stages": stages(runner),
        "state": runner.state,
        "epochs": runner.epochs,
        "best_epoch": runner.best_epoch,
        "ended": runner.ended,
        "folds": len(runner.scores),
        "score": float(np.mean(scores)) if fine else None,
        "se": float(np.std(scores, ddof=1) / len(scores) ** 0.5) if fine and len(scores) > 1 else None,
        "fold_scores": [s if math.isfinite(s) else None for s in runner.scores],
        "metric_score": metric,
        "train_score": runner.train_score,
        "history": [[e, s] for e, s in runner.history if math.isfinite(s)],
        "seconds": runner.seconds,
    }
