"""A worker: asks for candidates, races them, tells what came of them; any number of workers share a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dashpot.core.errors import StorageError
from dashpot.search import artifacts
from dashpot.search.race import Course, Race, Runner, Say
from dashpot.search.space import Space
from dashpot.search.store import Store, candidates, counted
from dashpot.search.task import Task

SMALLEST = 3
"""Candidates of a last, shortened race at least."""
PAUSE = 1.0
"""Seconds between looks at what the others do."""


class Worker:
    """One worker's part of a search.

    Args:
        folder: where networks of complete candidates are kept.
        deadline: ``time.monotonic()`` at which racing must end.
        trials: candidates of the whole study at most.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        course: Course,
        store: Store,
        folder: Path,
        *,
        deadline: float | None,
        trials: int | None,
        say: Say = lambda stage, runners, epoch: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.task, self.space, self.course, self.store, self.folder = task, space, course, store, folder
        self.deadline, self.trials, self.say, self.note = deadline, trials, say, note
        self.runners: list[Runner] = []
        self.member_steps = 0
        self._slowest = 0.0

    def run(self) -> None:
        """Race after race, until the time or the candidates are used up.

        With a number of candidates, a worker that finds none left waits for the others: should one of them die, its candidates are taken over.
        """
        while (lanes := self._lanes()) is not None:
            if taken := self.store.take_over():
                self.note(f"took over {taken} candidate{'s' * (taken > 1)} of a worker that has gone")
                continue
            runners: list[Runner] = []
            try:
                while len(runners) < lanes and (asked := self.store.ask(self.space.sample, most=self.trials)) is not None:
                    runners.append(Runner(*asked))
                if runners:
                    self._race(runners, [r.number for r in runners if self._is_fixed(r)])
                else:
                    time.sleep(PAUSE)
            except KeyboardInterrupt:
                for runner in runners:
                    if runner.state == "running":
                        runner.state = "pruned" if runner.scores else "failed"
                        self._report(runner)
                raise

    def _is_fixed(self, runner: Runner) -> bool:
        """The plain network is in the race to the end: every other must beat it."""
        params = dict(runner.candidate.params)
        return params == dict(self.space.plain().params)

    def _race(self, runners: Sequence[Runner], protected: Sequence[int]) -> None:
        started = time.monotonic()
        race = Race(
            self.task,
            self.course,
            runners,
            folds=range(self.course.folds),
            protected=protected,
            deadline=self.deadline,
            elastic=True,
            report=self._report,
            say=self.say,
        )
        race.run()
        self.member_steps += race.lanes.member_steps
        for text in race.notes:
            self.note(text)
        self.runners += runners
        self._slowest = max(self._slowest, (time.monotonic() - started) / len(runners))

    def _report(self, runner: Runner) -> None:
        if runner.state == "running":
            self.store.report(runner.number, runner.epochs, runner.score)
            return
        if runner.state == "complete":
            artifacts.save(self.folder, runner)
        attrs = attributes(runner)
        if not self.store.tell(runner.number, runner.state, runner.score if runner.state != "failed" else None, attrs):
            self.note(f"candidate {runner.number} had been taken over by another worker; it is counted once")

    def _lanes(self) -> int | None:
        """How many candidates are to be asked for now: 0 is to wait for others, None is the end."""
        lanes = self.course.lanes
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if self._slowest:
                fits = int(left / (1.1 * self._slowest))
                lanes = min(lanes, fits if fits >= SMALLEST else 0)
            if left <= 0 or lanes == 0:
                return None
        if self.trials is None:
            return lanes
        found = candidates(self.store.trials())
        begun = [first for first, family in found.items() if family[0].state.name != "WAITING"]
        copies: int = sum(t.state.name == "WAITING" for family in found.values() for t in family[1:])
        # Whatever was begun is finished, even beyond a limit that is lower than in an earlier run.
        left_over = max(0, self.trials - len(begun)) + copies
        if left_over <= 0 and all(any(counted(t) and t.state.is_finished() for t in found[first]) for first in begun):
            return None
        return min(lanes, left_over)


def attributes(runner: Runner) -> dict[str, Any]:
    """What the store remembers of a runner besides its score."""
    finite = [(e, s) for e, s in runner.history if s < float("inf")]
    return {
        "fold_scores": [s if s < float("inf") else None for s in runner.scores],
        "epochs": runner.epochs,
        "best_epoch": runner.best_epoch,
        "planned": runner.planned,
        "train_score": runner.train_score,
        "history": [[e, round(s, 6)] for e, s in finite],
        "seconds": runner.seconds,
        "recipe": str(runner.candidate.recipe),
    }


def remembered(store: Store, space: Space) -> list[Runner]:
    """Every finished candidate of a study, from all workers; those that were taken over are counted where they were done.

    Raises:
        StorageError: the store does not answer.
    """
    found = []
    for trial in store.trials():
        if not trial.state.is_finished() or not counted(trial) or "lr" not in trial.params:
            continue
        attrs = trial.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        runner = Runner(trial.number, space.candidate(trial.params), state, int(attrs.get("epochs", 0)))
        runner.scores = [float("inf") if s is None else float(s) for s in attrs.get("fold_scores", [])]
        runner.history = [(int(e), float(s)) for e, s in attrs.get("history", [])]
        runner.best_epoch, runner.planned = int(attrs.get("best_epoch", 0)), int(attrs.get("planned", 0))
        runner.train_score, runner.seconds = attrs.get("train_score"), float(attrs.get("seconds", 0.0))
        found.append(runner)
    if not found:
        raise StorageError("no candidate was finished: the budget ended before the first rung. Give more time.")
    return found


def with_networks(
    task: Task, course: Course, folder: Path, runners: Sequence[Runner], *, folds: Sequence[int], deadline: float | None, say: Say
) -> list[Runner]:
    """Runners with their networks and outputs on all ``folds``: from files as far as this machine has them, else trained (again), which gives the same.

    Where the time does not allow the rest, those that are whole are returned; if there are none, the runners on the folds that they have in common.
    """
    loaded = [
        artifacts.load(folder, r.number, r.candidate, r.repeat) or Runner(r.number, r.candidate, repeat=r.repeat, planned=r.planned) for r in runners
    ]
    short: dict[tuple[int, int], list[Runner]] = {}
    for runner in loaded:
        if len(runner.tensors) < len(folds):
            short.setdefault((len(runner.tensors), runner.planned or course.epochs), []).append(runner)
    for (have, planned), group in short.items():
        fresh = [Runner(r.number, r.candidate, repeat=r.repeat) for r in group]
        Race(task, replace(course, epochs=planned), fresh, folds=list(folds)[have:], deadline=deadline, say=say).run(rungs=())
        for old, new in zip(group, fresh, strict=True):
            # One that the end of the time cut short would spoil those that are whole.
            if new.state != "complete" or (have and new.epochs < planned):
                continue
            join(old, new, have)
            artifacts.save(folder, old)
    whole = [r for r in loaded if len(r.tensors) == len(folds)]
    if not whole:
        have = max((len(r.tensors) for r in loaded), default=0)
        whole = [r for r in loaded if len(r.tensors) == have and have]
    return sorted(whole, key=lambda r: r.score)


def join(old: Runner, new: Runner, have: int) -> None:
    """Add the folds of ``new`` to those that ``old`` has; each part keeps its own best epoch."""
    if not have:
        old.best_epoch, old.history, old.epochs, old.planned = new.best_epoch, new.history, new.epochs, new.planned
    train = [s for s, n in ((old.train_score, have), (new.train_score, len(new.scores))) if s is not None for _ in range(n)]
    old.scores, old.outputs, old.tensors = [*old.scores, *new.scores], [*old.outputs, *new.outputs], [*old.tensors, *new.tensors]
    old.train_score = sum(train) / len(train) if train else None
    old.state = "complete"
