"""``Trial`` and ``TrainingBudget``: a candidate in a race, and how it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from dashpot.report.tune.trial_record import StageRecord, TrialRecord
from dashpot.search.space.space import Candidate

ETA = 3
"""A third is kept at each rung (Li et al., "Hyperband", JMLR 2018)."""
HALVING, HYPERBAND, NONE, POPULATION = SCHEDULES = ("halving", "hyperband", "none", "population")
"""How trials of a race are pruned; see :mod:`dashpot.search.racing.pruning`."""


@dataclass(frozen=True)
class TrainingBudget:
    """How candidates are trained.

    Attributes:
        epochs: of a candidate that is never pruned.
        batch_size: rows per step.
        rungs: epochs after which the weaker ones are pruned.
        folds: on how many folds the race is run; finalists are trained on the rest afterwards.
        parallel: candidates per race.
        schedule: one of :data:`SCHEDULES`.
        bracket: how many of the earlier rungs it leaves out; see :func:`dashpot.search.racing.pruning.bracket`.
    """

    epochs: int
    batch_size: int
    rungs: tuple[int, ...]
    folds: int
    parallel: int
    schedule: str = HALVING
    bracket: int = 0


@dataclass(frozen=True)
class Stage:
    """What a network was trained as, from so many epochs on."""

    epoch: int
    candidate: Candidate


@dataclass
class Trial:
    """A candidate in a race, with its results.

    Attributes:
        number: its number in the study.
        candidate: what it is; where its strengths changed, what it was in the end.
        state: ``running``, ``complete``, ``pruned`` or ``failed``.
        epochs: trained.
        planned: epochs over which its learning rate fell: those of its race.
        best_epoch: the evaluation with the lowest mean score over the folds: one number for all folds, a setting
            like the others.
        scores: the proper score of each fold then.
        history: (epoch, mean score) of the network it ended as, over all of its stages.
        outputs: for each fold the outputs for its validation rows then.
        tensors: for each fold the weights then.
        lineage: where it took over another's network (population-based training), all stages of that network from epoch
            0 on, the last one being ``candidate``; else nothing. One network that is trained through them is this one.
        ended: before all its epochs, since its score had only become worse.
        reason: why it failed.
        asked: the best score as the candidate that the study asked for, where it became another: the score for the
            sampler.
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
    reason: str = ""

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
        """It continues as another candidate: drop its best so far."""
        self.history = [(epoch, score) for epoch, score in self.history if epoch < before]
        self.best_epoch, self.scores, self.outputs, self.tensors = 0, [], [], []

    @property
    def stage_records(self) -> tuple[StageRecord, ...]:
        """Its stages, where its strengths changed while it trained; else nothing."""
        return tuple(StageRecord(stage.epoch, dict(stage.candidate.params)) for stage in self.lineage)

    def record(self, *, name: str = "", metric_score: float | None = None, seeds: int = 1) -> TrialRecord:
        """Its record, for the study, the checkpoints and the report.

        Args:
            name, metric_score, seeds: of the report.
        """
        scores = [s for s in self.scores if math.isfinite(s)]
        fine = bool(scores) and len(scores) == len(self.scores)
        return TrialRecord(
            number=self.number,
            params=dict(self.candidate.params),
            recipe=str(self.candidate.recipe) if self.candidate.recipe else "no technique",
            state=self.state,
            name=name,
            reason=self.reason,
            stages=self.stage_records,
            epochs=self.epochs,
            planned=self.planned,
            best_epoch=self.best_epoch,
            ended=self.ended,
            folds=len(self.scores),
            score=float(np.mean(scores)) if fine else None,
            se=float(np.std(scores, ddof=1) / len(scores) ** 0.5) if fine and len(scores) > 1 else None,
            fold_scores=tuple(float(s) if math.isfinite(s) else None for s in self.scores),
            metric_score=metric_score,
            train_score=self.train_score,
            history=tuple((int(e), float(s)) for e, s in self.history if math.isfinite(s)),
            seconds=self.seconds,
            seeds=seeds,
            repeat=self.repeat,
        )

    @classmethod
    def of(cls, record: TrialRecord, candidate: Callable[[Mapping[str, Any]], Candidate]) -> Trial:
        """A trial from its record, without its networks.

        Args:
            candidate: the candidate at a point of the space.
        """
        lineage = [Stage(stage.epoch, candidate(stage.params)) for stage in record.stages]
        return cls(
            record.number,
            lineage[-1].candidate if lineage else candidate(record.params),
            record.state,
            epochs=record.epochs,
            planned=record.planned,
            best_epoch=record.best_epoch,
            scores=[math.inf if s is None else s for s in record.fold_scores],
            train_score=record.train_score,
            history=list(record.history),
            seconds=record.seconds or 0.0,
            repeat=record.repeat,
            lineage=lineage,
            ended=record.ended,
            reason=record.reason,
        )


Report = Callable[[Trial], None]
Say = Callable[[str, Sequence[Trial], int], None]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """After a ninth and a third of the epochs, where that is a whole epoch."""
    return tuple(sorted({max(1, round(epochs / ETA**k)) for k in (2, 1)} - {epochs}))


def task_schedule(progress: float) -> float:
    """Flat for half of the training, then a cosine to zero; a short rise at the start.

    A candidate that is pruned early was then scored at the same learning rate as the others.
    """
    if progress < 0.02:
        return 0.1 + 0.9 * progress / 0.02
    return 1.0 if progress < 0.5 else (1 + math.cos(math.pi * (progress - 0.5) / 0.5)) / 2
