"""Trials trained in lock-step on all folds at once; at each rung the weaker ones are pruned, and none starts again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from dashpot.core.rng import mix, stream
from dashpot.core.threads import most
from dashpot.population.members import Member
from dashpot.search.racing.evaluator import Evaluator
from dashpot.search.racing.executor import ParallelTrials, Place, reason
from dashpot.search.racing.failures import NO_OUTPUTS, NOT_FINITE
from dashpot.search.racing.planning import evaluations, exchanges, fitting, rungs_for
from dashpot.search.racing.pruning import only_worse, pairs, staying
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import (
    POPULATION,
    Report,
    Say,
    Stage,
    TrainingBudget,
    Trial,
    task_schedule,
)
from dashpot.search.space.space import Candidate
from dashpot.training.setup import pick_device

Explore = Callable[[Candidate, np.random.Generator], Candidate | None]
"""Another candidate near one whose network it takes over; None where there is none."""


class Race:
    """Some candidates on some folds.

    Args:
        task, training: see there.
        trials: the candidates; ``protected`` numbers are never pruned. One with a lineage is trained through its
            stages.
        folds: which folds.
        deadline: ``time.monotonic()`` at which it ends, with the scores so far; None has no end.
        elastic: where it turns out that the deadline would come first, plan for fewer epochs while the learning rate is
            still flat: up to there the shorter budget trains in the same way, and the learning rate of all trials still
            falls to zero.
        explore: with the schedule ``population``, what a trial becomes that takes over another's network; by default
            none does.
        report: called with a trial after each rung and at the end.
        say: called with (stage, trials, epoch) after each epoch.
    """

    def __init__(
        self,
        task: Task,
        training: TrainingBudget,
        trials: Sequence[Trial],
        *,
        folds: Sequence[int],
        protected: Sequence[int] = (),
        deadline: float | None = None,
        elastic: bool = False,
        explore: Explore | None = None,
        report: Report = lambda trial: None,
        say: Say = lambda stage, trials, epoch: None,
    ) -> None:
        self.task, self.training, self.trials, self.folds = task, training, list(trials), list(folds)
        self.protected, self.deadline, self.report, self.say = set(protected), deadline, report, say
        self.elastic, self.planned, self.explore = elastic and deadline is not None, training.epochs, explore
        self._scripts = [r.stages for r in self.trials]
        # The techniques' schedules follow the run's planned length, which must then not change.
        scheduled = any(t.schedules() for stages in self._scripts for s in stages for t in s.candidate.recipe)
        self.elastic = self.elastic and not scheduled
        members: list[list[Member]] = []
        refused: dict[Place, str] = {}
        for i, stages in enumerate(self._scripts):
            try:
                members.append([task.member(stages[0].candidate, fold, self.trials[i].repeat) for fold in self.folds])
            except Exception as error:  # a strength relative to nothing, or whatever a network's own code raises
                members.append([])
                refused |= dict.fromkeys(self.places(i), reason(error))
        self.executor = ParallelTrials(
            members,
            [(task.x, task.y)],
            threads=(task.populations or most()) if pick_device(task.device).type == "cpu" else 1,
            epochs=training.epochs,
            batch_size=training.batch_size,
            schedule=lambda progress: task_schedule(min(progress * training.epochs / self.planned, 1.0)),
            loss=task.loss,
            device=task.device,
            bfloat16=task.bfloat16,
            stack=task.stack,
            cache=task.known,
            modality=task.modality,
            weight=task.weight,
        )
        self.executor.reasons |= refused
        self.notes = self.executor.notes
        self._evaluator = Evaluator(task, self.executor, self.folds)
        self._ended: list[int] = []

    def places(self, i: int) -> list[Place]:
        """The members of a trial."""
        return [(i, k) for k in range(len(self.folds))]

    def run(self, rungs: Sequence[int] | None = None, *, only: int | None = None) -> list[Trial]:
        """Train to the end, or to the deadline.

        Args:
            rungs: instead of the training budget's; with none of them no trial is pruned, and none takes over
                another's network.
            only: evaluate after this epoch and at no other, and end there; the learning rates are those of the whole
                training.

        Returns:
            The trials. At the deadline, those that are still running count as complete, with their best so far.
        """
        self._started, self._member_epochs = time.monotonic(), 0
        self._random = np.random.default_rng(
            int(mix(stream(self.task.seed, "exchange"), max(0, min((r.number for r in self.trials), default=0))))
        )
        self._exchanging = rungs is None and self.training.schedule == POPULATION and self.explore is not None
        try:
            self._run(set(self.training.rungs if rungs is None else rungs), only)
        finally:
            self.executor.close()
        return self.trials

    def _run(self, stops: set[int], only: int | None) -> None:
        last = self.planned if only is None else min(only, self.planned)
        scored = self._evaluations(stops) if only is None else {last}
        running = self._without_failed(list(range(len(self.trials))), 0)
        done = 0
        while done < last and running:
            if not self.executor.train(self.deadline):
                break
            done += 1
            running = self._without_failed(running, done)
            self._member_epochs += len(running) * len(self.folds)
            if running and done in scored:
                self._evaluate(running, done)
                running = self._without_failed(running, done)
                running = self._without_ended(running) if only is None and done < last else running
            if done in stops and done < last:
                running = self._rung(running)
            if self._exchanging and done in exchanges(self.planned) and done < last:
                self._exchange(running, done)
            if done < last:
                self._next_stage(running, done, evaluate=only is None)
            if self.elastic and only is None and self._shorten(done, len(running)):
                last, stops = self.planned, {rung for rung in rungs_for(self.training, self.planned) if rung > done}
                scored = self._evaluations(stops)
            self.say("race", [self.trials[i] for i in (*running, *self._ended)], done)
        if running and done > self.trials[running[0]].epochs:
            self._evaluate(running, done)
            running = self._without_failed(running, done)
        for _ in () if running else sorted(stop for stop in stops if stop > done):  # ended trials compete at every rung
            self._rung([])
        running = [*running, *self._ended]
        known: set[tuple[float, ...]] = set()
        for i in sorted(running, key=lambda i: len(self.trials[i].lineage)):
            # Where early stopping has kept what was copied, the copy is no network of its own.
            own = (scores := tuple(self.trials[i].scores)) not in known or not self.trials[i].lineage
            known.add(scores)
            # At the deadline, trials that are still running were not pruned.
            self._finish(i, "complete" if scores and own else "pruned")

    def _evaluations(self, stops: set[int]) -> set[int]:
        return evaluations(self.training, self.planned, stops)

    def _shorten(self, done: int, running: int) -> bool:
        """Plan for fewer epochs where the pace so far says that the deadline comes first; only while the learning rate
        is flat in both budgets.
        """
        if self.deadline is None or not running or 2 * done >= self.planned:
            return False
        now, before = time.monotonic(), self.planned
        self.planned = fitting(
            self.training,
            before,
            done,
            left=self.deadline - now,
            pace=(now - self._started) / max(self._member_epochs, 1),
            running=running,
            protected=len(self.protected),
            folds=len(self.folds),
        )
        return self.planned < before

    def _evaluate(self, running: Sequence[int], epoch: int) -> None:
        self._evaluator.evaluate({i: self.trials[i] for i in running}, epoch)

    def _exchange(self, running: Sequence[int], epoch: int) -> None:
        """The worst quarter continues from networks of the best quarter, with perturbed strengths."""
        assert self.explore is not None
        free = [i for i in running if self.trials[i].number not in self.protected]
        for i, source in pairs(running, free, self.trials, self._random):
            trial, other = self.trials[i], self.trials[source]
            near = self.explore(other.candidate, self._random)
            if near is None or not self._taken_over(i, source, near):
                continue
            trial.asked = trial.score if trial.asked is None else trial.asked
            trial.candidate, trial.history = near, list(other.history)
            trial.lineage = [*other.stages, Stage(epoch, near)]
            self._restart(i, epoch)
        for i in running:
            self.report(self.trials[i])

    def _next_stage(self, running: Sequence[int], epoch: int, *, evaluate: bool) -> None:
        """Trials with recorded stages continue as their next one."""
        for i in running:
            for stage in (s for s in self._scripts[i][1:] if s.epoch == epoch):
                for place in self.places(i):  # one by one: a fold that early stopping has ended stays as it is
                    self.executor.replace([(place, place)], stage.candidate.recipe, stage.candidate.lr)
                self._restart(i, epoch, evaluate=evaluate)

    def _taken_over(self, i: int, source: int, candidate: Candidate) -> bool:
        """All folds of a trial become copies of another's, which go on as ``candidate``; False where one of them has
        ended and cannot.
        """
        moves = list(zip(self.places(i), self.places(source), strict=True))
        if not self.executor.replace(moves, candidate.recipe, candidate.lr):
            return False
        self._evaluator.forget([place for place, _ in moves])
        return True

    def _restart(self, i: int, epoch: int, *, evaluate: bool = True) -> None:
        """From here on a trial's scores are those of its new stage; until the first of them, what it began with stands
        for them.
        """
        self.trials[i].forget(epoch)
        if evaluate:
            self._evaluate([i], epoch)

    def _rung(self, running: Sequence[int]) -> list[int]:
        """Those that stay; one that has ended takes a place, but trains no more."""
        every = [*running, *self._ended]
        stay = staying(every, [i for i in every if self.trials[i].number not in self.protected], self.trials)
        for i in every:
            if i not in stay:
                self._finish(i, "pruned")
            else:
                self.report(self.trials[i])
        self._ended = [i for i in self._ended if i in stay]
        return self._kept([i for i in running if i in stay])

    def _kept(self, running: list[int]) -> list[int]:
        """Only these train on."""
        self.executor.keep([place for i in running for place in self.places(i)])
        return running

    def over(self, i: int) -> bool:
        """Whether a trial need not train on, though it has not been beaten. Where strengths change while it trains,
        its past does not tell.
        """
        trial = self.trials[i]
        return self.training.schedule != POPULATION and not trial.lineage and only_worse(trial.history)

    def _without_ended(self, running: list[int]) -> list[int]:
        gone = [i for i in running if self.over(i)]
        for i in gone:
            self.trials[i].ended = True
        self._ended += gone
        return self._kept([i for i in running if i not in gone]) if gone else running

    def _without_failed(self, running: Sequence[int], epoch: int) -> list[int]:
        """A candidate with a fold whose loss is not finite, or whose technique raised an error, has failed; the others
        go on.
        """
        lost = self.executor.failed
        bad = [i for i in running if lost & set(self.places(i))]
        for i in bad:
            why = next((self.executor.reasons[p] for p in self.places(i) if p in self.executor.reasons), NOT_FINITE)
            self.trials[i].scores, self.trials[i].epochs = [math.inf] * len(self.folds), epoch
            self.trials[i].reason = why
            self._finish(i, "failed")
        return self._kept([i for i in running if i not in bad]) if bad else list(running)

    def _finish(self, i: int, state: str) -> None:
        trial = self.trials[i]
        trial.planned = self.planned
        trial.seconds = (
            (time.monotonic() - self._started) * trial.epochs * len(self.folds) / max(self._member_epochs, 1)
        )
        if state == "complete" and not trial.tensors:
            state, trial.scores = "failed", [math.inf] * len(self.folds)
            trial.reason = NO_OUTPUTS
        elif state == "complete":
            try:
                trial.train_score = self._evaluator.train_score(trial)
            except Exception as error:  # whatever a network's own code raises
                state, trial.scores, trial.tensors = "failed", [math.inf] * len(self.folds), []
                trial.reason = reason(error)
        else:
            trial.tensors = []
        trial.state = state  # last: what an interrupt finds finished is
        self.report(trial)
