"""Candidates trained in lock-step on all folds at once; at each rung the weaker ones leave, and nobody starts again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dashpot.fit import pick_device
from dashpot.population.solo import rebuilt
from dashpot.scores import predict
from dashpot.search.lanes import Lanes, Place
from dashpot.search.space import Candidate
from dashpot.search.task import Task
from dashpot.techniques import EarlyStopping

ETA = 3
"""A third goes on at each rung (Li et al., "Hyperband", JMLR 2018)."""
LOOKS = 12
"""Scores between the rungs, for the figure; they decide nothing."""


@dataclass(frozen=True)
class Course:
    """How long, and in what batches.

    Attributes:
        epochs: of a candidate that is never dropped.
        batch_size: rows per step.
        rungs: epochs after which the weaker ones leave.
        folds: on how many folds the race is run; finalists are trained on the rest afterwards.
        lanes: candidates per race.
    """

    epochs: int
    batch_size: int
    rungs: tuple[int, ...]
    folds: int
    lanes: int


@dataclass
class Runner:
    """A candidate in a race, and what became of it.

    Attributes:
        number: its number in the store.
        state: ``running``, ``complete``, ``pruned`` or ``failed``.
        epochs: trained.
        planned: epochs over which its learning rate fell: those of its race.
        best_epoch: the look with the lowest mean score over the folds: one number for all folds, a setting like the others.
        scores: the proper score of each fold then.
        history: (epoch, mean score).
        outputs: for each fold the outputs for its validation rows then.
        tensors: for each fold the weights then.
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

    @property
    def score(self) -> float:
        """The mean over the folds; infinite where one of them failed."""
        mean = float(np.mean(self.scores)) if self.scores else math.inf
        return mean if math.isfinite(mean) else math.inf


Report = Callable[[Runner], None]
Say = Callable[[str, Sequence[Runner], int], None]


def default_rungs(epochs: int) -> tuple[int, ...]:
    """After a ninth and a third of the epochs, where that is a whole epoch."""
    return tuple(sorted({max(1, round(epochs / ETA**k)) for k in (2, 1)} - {epochs}))


class Race:
    """Some candidates on some folds.

    Args:
        task, course: see there.
        runners: the candidates; ``protected`` numbers are never dropped.
        folds: which folds.
        deadline: ``time.monotonic()`` at which it ends, with whatever it has; None has no end.
        elastic: where it turns out that the deadline would come first, plan for fewer epochs while the learning rate is still flat: then nothing that was done was done
            otherwise than the shorter course asks for, and everybody's learning rate still falls to zero.
        report: told of a runner after each rung and at the end.
        say: told (stage, runners, epoch) after each epoch.
    """

    def __init__(
        self,
        task: Task,
        course: Course,
        runners: Sequence[Runner],
        *,
        folds: Sequence[int],
        protected: Sequence[int] = (),
        deadline: float | None = None,
        elastic: bool = False,
        report: Report = lambda runner: None,
        say: Say = lambda stage, runners, epoch: None,
    ) -> None:
        self.task, self.course, self.runners, self.folds = task, course, list(runners), list(folds)
        self.protected, self.deadline, self.report, self.say = set(protected), deadline, report, say
        self.elastic, self.planned = elastic and deadline is not None, course.epochs
        members = [[task.member(r.candidate, fold, r.repeat) for fold in self.folds] for r in self.runners]
        self.lanes = Lanes(
            members,
            [(task.x, task.y)],
            threads=torch.get_num_threads() if task.x.device.type == "cpu" and pick_device(task.device).type == "cpu" else 1,
            epochs=course.epochs,
            batch_size=course.batch_size,
            schedule=lambda progress: task_schedule(min(progress * course.epochs / self.planned, 1.0)),
            loss=task.loss,
            device=task.device,
            low=task.low,
            stack=task.stack,
        )
        self.notes = self.lanes.notes
        self._stopped: dict[Place, tuple[int, Tensor]] = {}

    def places(self, i: int) -> list[Place]:
        """The members of a runner."""
        return [(i, k) for k in range(len(self.folds))]

    def run(self, rungs: Sequence[int] | None = None, *, only: int | None = None) -> list[Runner]:
        """Train to the end, or to the deadline.

        Args:
            rungs: instead of the course's; with none of them nobody is dropped.
            only: look after this epoch and at no other, and end there; the learning rates are those of the whole course.

        Returns:
            The runners. At the deadline, those who are still running count as complete, with what they have.
        """
        self._started, self._member_epochs = time.monotonic(), 0
        try:
            self._run(set(self.course.rungs if rungs is None else rungs), only)
        finally:
            self.lanes.close()
        return self.runners

    def _run(self, stops: set[int], only: int | None) -> None:
        last = self.planned if only is None else min(only, self.planned)
        looks = self._looks(stops) if only is None else {last}
        running = list(range(len(self.runners)))
        done = 0
        while done < last and running:
            if not self.lanes.train(self.deadline):
                break
            done += 1
            running = self._without_failed(running, done)
            self._member_epochs += len(running) * len(self.folds)
            if running and done in looks:
                self._look(running, done)
            if done in stops and done < last:
                running = self._rung(running)
            if self.elastic and only is None and self._shorten(done, len(running)):
                last, stops = self.planned, {rung for rung in default_rungs(self.planned) if rung > done}
                looks = self._looks(stops)
            self.say("race", [self.runners[i] for i in running], done)
        if running and done > self.runners[running[0]].epochs:
            self._look(running, done)
        for i in running:
            # Where the time ran out, those who were still running have not been beaten.
            self._finish(i, "complete" if self.runners[i].scores else "pruned")

    def _looks(self, stops: set[int]) -> set[int]:
        """The same with and without rungs: each is a chance to be at one's best, and trained again must be the same."""
        return stops | set(default_rungs(self.planned)) | {max(1, round(self.planned * k / LOOKS)) for k in range(1, LOOKS + 1)}

    def _shorten(self, done: int, running: int) -> bool:
        """Plan for fewer epochs where the pace so far says that the deadline comes first; only while the learning rate is flat in both courses."""
        if self.deadline is None or not running or 2 * done >= self.planned:
            return False
        seconds = (time.monotonic() - self._started) / max(self._member_epochs, 1)
        left = self.deadline - time.monotonic()
        free = running - len(self.protected)
        lowest = max(2 * done + 1, done + 2)
        for epochs in range(self.planned, lowest - 1, -1):
            alive, before, total = running, done, 0
            for rung in (*(r for r in default_rungs(epochs) if r > done), epochs):
                total += alive * (rung - before)
                before, alive = rung, min(alive, len(self.protected) + math.ceil(max(free, 0) / ETA))
            if seconds * total * len(self.folds) <= left:
                break
        shorter, self.planned = epochs < self.planned, epochs
        return shorter

    def _look(self, running: Sequence[int], epoch: int) -> None:
        outputs = self.lanes.outputs(
            {place: self.task.folds[fold][1] for i in running for place, fold in zip(self.places(i), self.folds, strict=True)}
        )
        for i in running:
            runner = self.runners[i]
            own = [self._as_kept(place, epoch, outputs[place].cpu()) for place in self.places(i)]
            scores = [self.task.proper(out, self.task.folds[fold][1]) for out, fold in zip(own, self.folds, strict=True)]
            mean = float(np.mean(scores))
            runner.epochs = epoch
            runner.history.append((epoch, mean))
            if mean < runner.score:
                runner.best_epoch, runner.scores, runner.outputs = epoch, scores, own
                runner.tensors = [self.lanes.tensors(place) for place in self.places(i)]

    def _as_kept(self, place: Place, epoch: int, now: Tensor) -> Tensor:
        """The outputs of the network that the member would end with: early stopping's best weights are not those it trains on with."""
        runner, fold = self.runners[place[0]], self.folds[place[1]]
        best = self.lanes.best_epoch(place)
        if not best or not any(isinstance(t, EarlyStopping) and t.restore for t in runner.candidate.recipe):
            return now
        if best != epoch:
            before, out = self._stopped.get(place, (0, now))
            if before == best:
                return out
            network = rebuilt(self.task.make(dict(runner.candidate.net)), self.lanes.tensors(place))
            now = predict(network, self.task.x[torch.as_tensor(self.task.folds[fold][1])])
        self._stopped[place] = best, now
        return now

    def _rung(self, running: Sequence[int]) -> list[int]:
        free = sorted((i for i in running if self.runners[i].number not in self.protected), key=lambda i: self.runners[i].score)
        stay = set(free[: math.ceil(len(free) / ETA)]) | {i for i in running if self.runners[i].number in self.protected}
        for i in running:
            if i not in stay:
                self._finish(i, "pruned")
            else:
                self.report(self.runners[i])
        kept = [i for i in running if i in stay]
        self.lanes.keep([place for i in kept for place in self.places(i)])
        return kept

    def _without_failed(self, running: Sequence[int], epoch: int) -> list[int]:
        """A candidate with a fold whose loss is not finite has lost; the others go on."""
        lost = self.lanes.failed
        bad = [i for i in running if lost & set(self.places(i))]
        for i in bad:
            self.runners[i].scores, self.runners[i].epochs = [math.inf] * len(self.folds), epoch
            self._finish(i, "failed")
        if bad:
            running = [i for i in running if i not in bad]
            self.lanes.keep([place for i in running for place in self.places(i)])
        return list(running)

    def _finish(self, i: int, state: str) -> None:
        runner = self.runners[i]
        runner.state, runner.planned = state, self.planned
        runner.seconds = (time.monotonic() - self._started) * runner.epochs * len(self.folds) / max(self._member_epochs, 1)
        if state == "complete" and not runner.tensors:
            runner.state, runner.scores = "failed", [math.inf] * len(self.folds)  # its outputs were never finite
        elif state == "complete":
            runner.train_score = float(np.mean([self._train_score(runner, k) for k in range(len(self.folds))]))
        else:
            runner.tensors = []
        self.report(runner)

    def _train_score(self, runner: Runner, k: int) -> float:
        """On as many training rows as validation rows, spread evenly, so that the gap compares like with like."""
        train, valid = self.task.folds[self.folds[k]]
        rows = train[np.linspace(0, len(train) - 1, min(len(train), len(valid))).astype(int)]
        network = rebuilt(self.task.make(dict(runner.candidate.net)), runner.tensors[k])
        return self.task.proper(predict(network, self.task.x[torch.as_tensor(rows)]), rows)


def task_schedule(progress: float) -> float:
    """Flat for half of the training, then a cosine to zero; a short rise at the start.

    A candidate that is dropped early was then judged at the learning rate at which the others went on.
    """
    if progress < 0.02:
        return 0.1 + 0.9 * progress / 0.02
    return 1.0 if progress < 0.5 else (1 + math.cos(math.pi * (progress - 0.5) / 0.5)) / 2


def summary(runner: Runner, names: Mapping[int, str], metric: float | None) -> dict[str, Any]:
    """A runner as plain JSON for the report."""
    scores = [s for s in runner.scores if math.isfinite(s)]
    fine = len(scores) == len(runner.scores) and scores
    return {
        "number": runner.number,
        "name": names.get(runner.number, ""),
        "recipe": str(runner.candidate.recipe) if runner.candidate.recipe else "no technique",
        "params": dict(runner.candidate.params),
        "state": runner.state,
        "epochs": runner.epochs,
        "best_epoch": runner.best_epoch,
        "folds": len(runner.scores),
        "score": float(np.mean(scores)) if fine else None,
        "se": float(np.std(scores, ddof=1) / len(scores) ** 0.5) if fine and len(scores) > 1 else None,
        "fold_scores": [s if math.isfinite(s) else None for s in runner.scores],
        "metric_score": metric,
        "train_score": runner.train_score,
        "history": [[e, s] for e, s in runner.history if math.isfinite(s)],
        "seconds": runner.seconds,
    }
