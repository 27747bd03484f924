"""Candidates trained in lock-step on all folds at once; at each rung the weaker ones leave, and nobody starts again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dashpot.core.rng import mix, stream
from dashpot.evaluation.losses import predict
from dashpot.population.sequential import rebuilt
from dashpot.search.racing.executor import ParallelTrials, Place
from dashpot.search.racing.memory import most_members
from dashpot.search.racing.pruning import exchanges, member_epochs, only_worse, pairs, rungs_for
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import (
    ETA,
    LOOKS,
    POPULATION,
    Report,
    Say,
    Stage,
    TrainingBudget,
    Trial,
    default_rungs,
    task_schedule,
)
from dashpot.search.space.space import Candidate
from dashpot.techniques import EarlyStopping
from dashpot.training.setup import pick_device

Explore = Callable[[Candidate, np.random.Generator], Candidate | None]
"""Another candidate near one whose network it takes over; None where there is none."""


class Race:
    """Some candidates on some folds.

    Args:
        task, course: see there.
        runners: the candidates; ``protected`` numbers are never dropped. One with a lineage is trained through its
            stages.
        folds: which folds.
        deadline: ``time.monotonic()`` at which it ends, with whatever it has; None has no end.
        elastic: where it turns out that the deadline would come first, plan for fewer epochs while the learning rate is
            still flat: then nothing that was done was done otherwise than the shorter course asks for, and everybody's
            learning rate still falls to zero.
        explore: with the schedule ``population``, what a runner becomes that takes over another's network; by default
            nobody does.
        report: told of a runner after each rung and at the end.
        say: told (stage, runners, epoch) after each epoch.
    """

    def __init__(
        self,
        task: Task,
        course: TrainingBudget,
        runners: Sequence[Trial],
        *,
        folds: Sequence[int],
        protected: Sequence[int] = (),
        deadline: float | None = None,
        elastic: bool = False,
        explore: Explore | None = None,
        report: Report = lambda runner: None,
        say: Say = lambda stage, runners, epoch: None,
    ) -> None:
        self.task, self.course, self.runners, self.folds = task, course, list(runners), list(folds)
        self.protected, self.deadline, self.report, self.say = set(protected), deadline, report, say
        self.elastic, self.planned, self.explore = elastic and deadline is not None, course.epochs, explore
        self._scripts = [r.stages for r in self.runners]
        members = [
            [task.member(stages[0].candidate, fold, r.repeat) for fold in self.folds]
            for r, stages in zip(self.runners, self._scripts, strict=True)
        ]
        self.lanes = ParallelTrials(
            members,
            [(task.x, task.y)],
            threads=torch.get_num_threads()
            if task.x.device.type == "cpu" and pick_device(task.device).type == "cpu"
            else 1,
            epochs=course.epochs,
            batch_size=course.batch_size,
            schedule=lambda progress: task_schedule(min(progress * course.epochs / self.planned, 1.0)),
            loss=task.loss,
            device=task.device,
            bfloat16=task.low,
            stack=task.stack,
            cache=task.known,
            modality=task.modality,
        )
        self.notes = self.lanes.notes
        self._stopped: dict[Place, tuple[int, Tensor]] = {}
        self._ended: list[int] = []

    def places(self, i: int) -> list[Place]:
        """The members of a runner."""
        return [(i, k) for k in range(len(self.folds))]

    def run(self, rungs: Sequence[int] | None = None, *, only: int | None = None) -> list[Trial]:
        """Train to the end, or to the deadline.

        Args:
            rungs: instead of the course's; with none of them nobody is dropped, and nobody takes over another's
                network.
            only: look after this epoch and at no other, and end there; the learning rates are those of the whole
                course.

        Returns:
            The runners. At the deadline, those who are still running count as complete, with what they have.
        """
        self._started, self._member_epochs = time.monotonic(), 0
        self._random = np.random.default_rng(
            int(mix(stream(self.task.seed, "exchange"), max(0, min((r.number for r in self.runners), default=0))))
        )
        self._exchanging = rungs is None and self.course.schedule == POPULATION and self.explore is not None
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
                running = self._without_ended(running) if only is None and done < last else running
            if done in stops and done < last:
                running = self._rung(running)
            if self._exchanging and done in exchanges(self.planned) and done < last:
                self._exchange(running, done)
            if done < last:
                self._next_stage(running, done, look=only is None)
            if self.elastic and only is None and self._shorten(done, len(running)):
                last, stops = self.planned, {rung for rung in rungs_for(self.course, self.planned) if rung > done}
                looks = self._looks(stops)
            self.say("race", [self.runners[i] for i in (*running, *self._ended)], done)
        if running and done > self.runners[running[0]].epochs:
            self._look(running, done)
        for _ in (
            () if running else sorted(stop for stop in stops if stop > done)
        ):  # who has ended competes at every rung
            self._rung([])
        running = [*running, *self._ended]
        known: set[tuple[float, ...]] = set()
        for i in sorted(running, key=lambda i: len(self.runners[i].lineage)):
            # Where early stopping has kept what was copied, the copy is no network of its own.
            own = (scores := tuple(self.runners[i].scores)) not in known or not self.runners[i].lineage
            known.add(scores)
            # Where the time ran out, those who were still running have not been beaten.
            self._finish(i, "complete" if scores and own else "pruned")

    def _looks(self, stops: set[int]) -> set[int]:
        """The same with and without rungs: each is a chance to be at one's best, and trained again must be the same."""
        at = exchanges(self.planned) if self.course.schedule == POPULATION else ()
        return (
            stops
            | set(default_rungs(self.planned))
            | set(at)
            | {max(1, round(self.planned * k / LOOKS)) for k in range(1, LOOKS + 1)}
        )

    def _shorten(self, done: int, running: int) -> bool:
        """Plan for fewer epochs where the pace so far says that the deadline comes first; only while the learning rate
        is flat in both courses.
        """
        if self.deadline is None or not running or 2 * done >= self.planned:
            return False
        seconds = (time.monotonic() - self._started) / max(self._member_epochs, 1)
        left = self.deadline - time.monotonic()
        lowest = max(2 * done + 1, done + 2)
        for epochs in range(self.planned, lowest - 1, -1):
            rungs = [rung - done for rung in rungs_for(self.course, epochs) if rung > done]
            if seconds * member_epochs(running, len(self.protected), len(self.folds), epochs - done, rungs) <= left:
                break
        shorter, self.planned = epochs < self.planned, epochs
        return shorter

    def _look(self, running: Sequence[int], epoch: int) -> None:
        outputs = self.lanes.outputs(
            {
                place: self.task.folds[fold][1]
                for i in running
                for place, fold in zip(self.places(i), self.folds, strict=True)
            }
        )
        for i in running:
            runner = self.runners[i]
            own = [self._as_kept(place, epoch, outputs[place].cpu()) for place in self.places(i)]
            scores = self.task.scores(own, [self.task.folds[fold][1] for fold in self.folds])
            mean = float(np.mean(scores))
            runner.epochs = epoch
            runner.history.append((epoch, mean))
            if mean < runner.score or (math.isfinite(mean) and runner.best_epoch <= runner.stages[-1].epoch):
                runner.best_epoch, runner.scores, runner.outputs = epoch, scores, own
                runner.tensors = [self.lanes.tensors(place) for place in self.places(i)]

    def _as_kept(self, place: Place, epoch: int, now: Tensor) -> Tensor:
        """The outputs of the network that the member would end with: early stopping's best weights are not those it
        trains on with.
        """
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

    def _exchange(self, running: Sequence[int], epoch: int) -> None:
        """The worst quarter goes on from networks of the best quarter, each as a candidate near that one."""
        assert self.explore is not None
        free = [i for i in running if self.runners[i].number not in self.protected]
        for i, source in pairs(running, free, self.runners, self._random):
            runner, other = self.runners[i], self.runners[source]
            near = self.explore(other.candidate, self._random)
            if near is None or not self._taken_over(i, source, near):
                continue
            runner.asked = runner.score if runner.asked is None else runner.asked
            runner.candidate, runner.lineage, runner.history = (
                near,
                [*other.stages, Stage(epoch, near)],
                list(other.history),
            )
            self._restart(i, epoch)
        for i in running:
            self.report(self.runners[i])

    def _next_stage(self, running: Sequence[int], epoch: int, *, look: bool) -> None:
        """Those whose stages are known already go on as their next one."""
        for i in running:
            for stage in (s for s in self._scripts[i][1:] if s.epoch == epoch):
                for place in self.places(i):  # one by one: a fold that early stopping has ended stays as it is
                    self.lanes.replace([(place, place)], stage.candidate.recipe, stage.candidate.lr)
                self._restart(i, epoch, look=look)

    def _taken_over(self, i: int, source: int, candidate: Candidate) -> bool:
        """All folds of a runner become copies of another's, which go on as ``candidate``; False where one of them has
        ended and cannot.
        """
        moves = list(zip(self.places(i), self.places(source), strict=True))
        if not self.lanes.replace(moves, candidate.recipe, candidate.lr):
            return False
        for place, _ in moves:
            self._stopped.pop(place, None)  # the outputs of other weights
        return True

    def _restart(self, i: int, epoch: int, *, look: bool = True) -> None:
        """From here on a runner's scores are those of its new stage; until the first of them, what it began with stands
        for them.
        """
        self.runners[i].forget(epoch)
        if look:
            self._look([i], epoch)

    def _rung(self, running: Sequence[int]) -> list[int]:
        """Those who stay; who has ended takes a place, but trains no more."""
        every = [*running, *self._ended]
        free = sorted(
            (i for i in every if self.runners[i].number not in self.protected), key=lambda i: self.runners[i].score
        )
        stay = set(free[: math.ceil(len(free) / ETA)]) | {i for i in every if self.runners[i].number in self.protected}
        for i in every:
            if i not in stay:
                self._finish(i, "pruned")
            else:
                self.report(self.runners[i])
        self._ended = [i for i in self._ended if i in stay]
        return self._kept([i for i in running if i in stay])

    def _kept(self, running: list[int]) -> list[int]:
        """Only these train on."""
        self.lanes.keep([place for i in running for place in self.places(i)])
        return running

    def over(self, i: int) -> bool:
        """Whether a runner need not train on, though it has not been beaten. Where strengths change while it trains,
        its past does not tell.
        """
        runner = self.runners[i]
        return self.course.schedule != POPULATION and not runner.lineage and only_worse(runner.history)

    def _without_ended(self, running: list[int]) -> list[int]:
        gone = [i for i in running if self.over(i)]
        for i in gone:
            self.runners[i].ended = True
        self._ended += gone
        return self._kept([i for i in running if i not in gone]) if gone else running

    def _without_failed(self, running: Sequence[int], epoch: int) -> list[int]:
        """A candidate with a fold whose loss is not finite has lost; the others go on."""
        lost = self.lanes.failed
        bad = [i for i in running if lost & set(self.places(i))]
        for i in bad:
            self.runners[i].scores, self.runners[i].epochs = [math.inf] * len(self.folds), epoch
            self._finish(i, "failed")
        return self._kept([i for i in running if i not in bad]) if bad else list(running)

    def _finish(self, i: int, state: str) -> None:
        runner = self.runners[i]
        runner.planned = self.planned
        runner.seconds = (
            (time.monotonic() - self._started) * runner.epochs * len(self.folds) / max(self._member_epochs, 1)
        )
        if state == "complete" and not runner.tensors:
            state, runner.scores = "failed", [math.inf] * len(self.folds)  # its outputs were never finite
        elif state == "complete":
            runner.train_score = float(np.mean([self._train_score(runner, k) for k in range(len(self.folds))]))
        else:
            runner.tensors = []
        runner.state = state  # last: what an interrupt finds finished is
        self.report(runner)

    def _train_score(self, runner: Trial, k: int) -> float:
        """On as many training rows as validation rows, spread evenly, so that the gap compares like with like."""
        train, valid = self.task.folds[self.folds[k]]
        rows = train[np.linspace(0, len(train) - 1, min(len(train), len(valid))).astype(int)]
        network = rebuilt(self.task.make(dict(runner.candidate.net)), runner.tensors[k])
        return self.task.proper(predict(network, self.task.x[torch.as_tensor(rows)]), rows)


def in_groups(
    task: Task,
    course: TrainingBudget,
    runners: Sequence[Trial],
    *,
    folds: Sequence[int],
    deadline: float | None,
    say: Say,
) -> None:
    """Train runners to their end, without rungs, as many at once as memory holds on all ``folds``."""
    size = max(1, most_members(task, [r.candidate for r in runners]) // max(len(folds), 1))
    for at in range(0, len(runners), size):
        Race(task, course, runners[at : at + size], folds=folds, deadline=deadline, say=say).run(rungs=())
