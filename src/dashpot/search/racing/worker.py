"""A worker: asks for candidates, races them, tells what came of them; any number of workers share a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dashpot.core.errors import StorageError
from dashpot.search.racing import checkpoints as artifacts
from dashpot.search.racing.pruning import bracket, perturbed
from dashpot.search.racing.race import Race, in_groups
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import HYPERBAND, Say, Stage, TrainingBudget, Trial
from dashpot.search.space.space import Space
from dashpot.search.storage.study import Store
from dashpot.search.storage.trials import candidates, counted

SMALLEST = 3
"""Candidates of a last, shortened race at least."""
KEPT = 24
"""Candidates whose networks are kept: a few times as many as can become finalists."""
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
        course: TrainingBudget,
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
        self.runners: list[Trial] = []
        self._slowest = 0.0
        self._said: set[str] = set()
        self._next = course

    def run(self) -> None:
        """Race after race, until the time or the candidates are used up.

        With a number of candidates, a worker that finds none left waits for the others: should one of them die, its
        candidates are taken over.
        """
        while (lanes := self._lanes()) is not None:
            if taken := self.store.take_over():
                self.note(f"took over {taken} candidate{'s' * (taken > 1)} of a worker that has gone")
                continue
            runners: list[Trial] = []
            try:
                while (
                    len(runners) < lanes and (asked := self.store.ask(self.space.sample, most=self.trials)) is not None
                ):
                    runners.append(Trial(*asked))
                if runners:
                    self._race(runners, [r.number for r in runners if self._is_fixed(r)])
                else:
                    time.sleep(PAUSE)
            except KeyboardInterrupt:
                # Who has no score yet, and the plain network, stay open: whoever goes on with the search takes them
                # over.
                for runner in runners:
                    if runner.state == "running" and runner.scores and not self._is_fixed(runner):
                        runner.state = "pruned"
                        self._report(runner)
                raise

    def _is_fixed(self, runner: Trial) -> bool:
        """The plain network is in the race to the end: every other must beat it."""
        params = dict(runner.candidate.params)
        return params == dict(self.space.plain().params)

    def _coming(self) -> TrainingBudget:
        """The course of the next race: workers take the brackets in turn, whoever of them begins one."""
        return bracket(self.course, self.store.count("races")) if self.course.schedule == HYPERBAND else self.course

    def _race(self, runners: Sequence[Trial], protected: Sequence[int]) -> None:
        started, course = time.monotonic(), self._next
        if course.schedule == HYPERBAND:
            self.store.count("races", 1)
        race = Race(
            self.task,
            course,
            runners,
            folds=range(course.folds),
            protected=protected,
            deadline=self.deadline,
            elastic=True,
            explore=partial(perturbed, self.space),
            report=self._report,
            say=self.say,
        )
        try:
            race.run()
        finally:
            self.store.count("steps", race.lanes.member_steps)
        for text in race.notes:
            if text not in self._said:
                self._said.add(text)
                self.note(text)
        for runner in runners:  # what memory held of them is in files
            runner.tensors, runner.outputs = [], []
        self.runners += runners
        self._tidy()
        # Per candidate of a whole course, since those of a bracket with fewer take longer each.
        self._slowest = max(
            self._slowest, (time.monotonic() - started) / len(runners) * course.lanes / self.course.lanes
        )

    def _rung(self, course: TrainingBudget) -> float:
        """Seconds until a race has its first scores, by the pace that was measured before the first one."""
        first = min((*course.rungs, course.epochs))
        return float(self.store.get("pace") or 0.0) * course.lanes * course.folds * first

    def _tidy(self) -> None:
        """Networks that will not be asked for take no room on the disk: the best are enough, and any can be trained
        again with the same result.
        """
        plain = dict(self.space.plain().params)
        scores = {
            t.number: sum(folds) / len(folds)
            for t in self.store.trials()
            if t.state.name == "COMPLETE"
            and t.params != plain
            and (folds := t.user_attrs.get("fold_scores"))
            and None not in folds
        }
        for number in sorted(scores, key=lambda number: scores[number])[KEPT:]:
            artifacts.path_of(self.folder, number).unlink(missing_ok=True)

    def _report(self, runner: Trial) -> None:
        if runner.state == "running":
            self.store.report(runner.number, runner.epochs, runner.score)
            return
        if runner.state == "complete":
            artifacts.save(self.folder, runner)
        attrs = attributes(runner)
        score = runner.score if runner.asked is None else runner.asked
        if not self.store.tell(runner.number, runner.state, score if runner.state != "failed" else None, attrs):
            self.note(f"candidate {runner.number} had been taken over by another worker; it is counted once")

    def _lanes(self) -> int | None:
        """How many candidates are to be asked for now: 0 is to wait for others, None is the end."""
        self._next = self._coming()
        lanes = self._next.lanes
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if self._slowest:
                fits = int(left / (1.1 * self._slowest * self.course.lanes / lanes))
                lanes = min(lanes, fits if fits >= SMALLEST else 0)
            elif self._rung(self._next) > left:
                lanes = 0  # it would be trained for nothing
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


def attributes(runner: Trial) -> dict[str, Any]:
    """What the store remembers of a runner besides its score."""
    finite = [(e, s) for e, s in runner.history if s < float("inf")]
    return {
        "fold_scores": [s if s < float("inf") else None for s in runner.scores],
        "epochs": runner.epochs,
        "best_epoch": runner.best_epoch,
        "planned": runner.planned,
        "ended": runner.ended,
        "train_score": runner.train_score,
        "history": [[e, round(s, 6)] for e, s in finite],
        "seconds": runner.seconds,
        "recipe": str(runner.candidate.recipe),
        **({"lineage": artifacts.plain(runner.lineage)} if runner.lineage else {}),
    }


def remembered(store: Store, space: Space) -> list[Trial]:
    """Every finished candidate of a study, from all workers; those that were taken over are counted where they were
    done.

    Raises:
        StorageError: the store does not answer.
    """
    found = []
    for trial in store.trials():
        if not trial.state.is_finished() or not counted(trial) or "lr" not in trial.params:
            continue
        attrs = trial.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        stages = [Stage(int(epoch), space.candidate(params)) for epoch, params in attrs.get("lineage", [])]
        candidate = stages[-1].candidate if stages else space.candidate(trial.params)
        runner = Trial(trial.number, candidate, state, int(attrs.get("epochs", 0)), lineage=stages)
        runner.scores = [float("inf") if s is None else float(s) for s in attrs.get("fold_scores", [])]
        runner.history = [(int(e), float(s)) for e, s in attrs.get("history", [])]
        runner.best_epoch, runner.planned = int(attrs.get("best_epoch", 0)), int(attrs.get("planned", 0))
        runner.ended = bool(attrs.get("ended", False))
        runner.train_score, runner.seconds = attrs.get("train_score"), float(attrs.get("seconds", 0.0))
        found.append(runner)
    if not found:
        raise StorageError("no candidate was finished: the budget ended before the first rung. Give more time.")
    return found


def with_networks(
    task: Task,
    course: TrainingBudget,
    folder: Path,
    runners: Sequence[Trial],
    *,
    folds: Sequence[int],
    deadline: float | None,
    say: Say,
) -> list[Trial]:
    """Runners with their networks and outputs on all ``folds``: from files as far as this machine has them, else
    trained (again), which gives the same.

    Where the time does not allow the rest, those that are whole are returned; if there are none, the runners on the
    folds that they have in common, at last those that the end of the time cut short, which are not kept.
    """
    loaded = [artifacts.load(folder, r.number, r.candidate, r.repeat, r.lineage) or r.untrained() for r in runners]
    short: dict[tuple[int, int], list[Trial]] = {}
    for runner in loaded:
        if len(runner.tensors) < len(folds):
            short.setdefault((len(runner.tensors), runner.planned or course.epochs), []).append(runner)
    someone = any(len(runner.tensors) == len(folds) for runner in loaded)
    for (have, planned), group in short.items():
        fresh = [r.untrained() for r in group]
        in_groups(task, replace(course, epochs=planned), fresh, folds=list(folds)[have:], deadline=deadline, say=say)
        for old, new in zip(group, fresh, strict=True):
            cut = not new.through(planned)
            # One that the end of the time cut short would spoil those that are whole.
            if new.state != "complete" or (cut and (have or someone)):
                continue
            join(old, new, have)
            old.scores = task.scores(
                old.outputs, [task.folds[fold][1] for fold in folds]
            )  # one temperature for all of them
            if not cut:  # else it is trained again where there is more time
                artifacts.save(folder, old)
    whole = [r for r in loaded if len(r.tensors) == len(folds)]
    if not whole:
        have = max((len(r.tensors) for r in loaded), default=0)
        whole = [r for r in loaded if len(r.tensors) == have and have]
    return sorted(whole, key=lambda r: r.score)


def join(old: Trial, new: Trial, have: int) -> None:
    """Add the folds of ``new`` to those that ``old`` has; each part keeps its own best epoch."""
    if not have:
        old.best_epoch, old.history, old.epochs, old.planned, old.ended = (
            new.best_epoch,
            new.history,
            new.epochs,
            new.planned,
            new.ended,
        )
    train = [
        s for s, n in ((old.train_score, have), (new.train_score, len(new.scores))) if s is not None for _ in range(n)
    ]
    old.scores, old.outputs, old.tensors = (
        [*old.scores, *new.scores],
        [*old.outputs, *new.outputs],
        [*old.tensors, *new.tensors],
    )
    old.train_score = sum(train) / len(train) if train else None
    old.state = "complete"
