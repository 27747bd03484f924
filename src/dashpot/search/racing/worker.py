"""A worker: asks for candidates, races them, tells their scores; any number of workers share a study."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dashpot.core.errors import StorageError
from dashpot.population.sizes import return_memory
from dashpot.report.tune.trial_record import TrialRecord
from dashpot.search.racing import checkpoints
from dashpot.search.racing.failures import hopeless, none_trains
from dashpot.search.racing.pruning import bracket, perturbed
from dashpot.search.racing.race import Race
from dashpot.search.racing.task import Task
from dashpot.search.racing.trial import HYPERBAND, Say, TrainingBudget, Trial
from dashpot.search.space.space import Space
from dashpot.search.storage.study import Store
from dashpot.search.storage.trials import RECORD, candidates, counted, record_of

SMALLEST = 3
"""Candidates of a last, shortened race at least."""
KEPT = 24
"""Candidates whose networks are kept: a few times as many as can become finalists."""
PAUSE = 1.0
"""Seconds between polls of the other workers."""


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
        training: TrainingBudget,
        store: Store,
        folder: Path,
        *,
        deadline: float | None,
        trials: int | None,
        say: Say = lambda stage, trials, epoch: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.task, self.space, self.training, self.store, self.folder = task, space, training, store, folder
        self.deadline, self.limit, self.say, self.note = deadline, trials, say, note
        self.raced: list[Trial] = []
        self._slowest = 0.0
        self._said: set[str] = set()
        self._next = training

    def run(self) -> None:
        """Race after race, until the time or the candidates are used up.

        With a number of candidates, a worker that finds none left waits for the others: should one of them die, its
        candidates are taken over.
        """
        while (parallel := self._wanted()) is not None:
            if taken := self.store.take_over():
                self.note(f"took over {taken} candidate{'s' * (taken > 1)} of a worker that has gone")
                continue
            trials: list[Trial] = []
            try:
                while (
                    len(trials) < parallel and (asked := self.store.ask(self.space.sample, most=self.limit)) is not None
                ):
                    trials.append(Trial(*asked))
                if trials:
                    self._race(trials, [r.number for r in trials if self._is_fixed(r)])
                else:
                    time.sleep(PAUSE)
            except KeyboardInterrupt:
                # Those without a score, and the baseline, stay open: when the search is resumed it takes them
                # over.
                for trial in trials:
                    if trial.state == "running" and trial.scores and not self._is_fixed(trial):
                        trial.state = "pruned"
                        self._report(trial)
                raise

    def _is_fixed(self, trial: Trial) -> bool:
        """The baseline is in the race to the end: every other must beat it."""
        params = dict(trial.candidate.params)
        return params == dict(self.space.baseline().params)

    def _coming(self) -> TrainingBudget:
        """The training budget of the next race: workers take the brackets in turn."""
        return (
            bracket(self.training, self.store.count("races")) if self.training.schedule == HYPERBAND else self.training
        )

    def _race(self, trials: Sequence[Trial], protected: Sequence[int]) -> None:
        started, training = time.monotonic(), self._next
        if training.schedule == HYPERBAND:
            self.store.count("races", 1)
        race = Race(
            self.task,
            training,
            trials,
            folds=range(training.folds),
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
            self.store.count("steps", race.executor.member_steps)
        for text in race.notes:
            if text not in self._said:
                self._said.add(text)
                self.note(text)
        for trial in trials:  # what memory held of them is in files
            trial.tensors, trial.outputs = [], []
        if hopeless(trials) and not any(t.state.name in ("COMPLETE", "PRUNED", "RUNNING") for t in self.store.trials()):
            raise none_trains(trials)
        self.raced += trials
        self._tidy()
        # Per candidate of a whole training budget, since those of a bracket with fewer take longer each.
        self._slowest = max(
            self._slowest, (time.monotonic() - started) / len(trials) * training.parallel / self.training.parallel
        )
        del race
        return_memory()

    def _rung(self, training: TrainingBudget) -> float:
        """Seconds until a race has its first scores, by the pace that was measured before the first one."""
        first = min((*training.rungs, training.epochs))
        return float(self.store.get("pace") or 0.0) * training.parallel * training.folds * first

    def _tidy(self) -> None:
        """Delete networks that will not be needed: the best are enough, and any can be trained again with the same
        result.
        """
        baseline = dict(self.space.baseline().params)
        scores = {
            t.number: sum(s for s in record.fold_scores if s is not None) / len(record.fold_scores)
            for t in self.store.trials()
            if t.state.name == "COMPLETE"
            and t.params != baseline
            and (record := record_of(t)) is not None
            and record.fold_scores
            and None not in record.fold_scores
        }
        for number in sorted(scores, key=lambda number: scores[number])[KEPT:]:
            checkpoints.path_of(self.folder, number).unlink(missing_ok=True)

    def _report(self, trial: Trial) -> None:
        if trial.state == "running":
            self.store.report(trial.number, trial.epochs, trial.score)
            return
        if trial.state == "complete":
            checkpoints.save(self.folder, trial)
        score = trial.score if trial.asked is None else trial.asked
        if not self.store.tell(
            trial.number, trial.state, score if trial.state != "failed" else None, {RECORD: trial.record().to_dict()}
        ):
            self.note(f"candidate {trial.number} had been taken over by another worker; it is counted once")

    def _wanted(self) -> int | None:
        """How many candidates are to be asked for now: 0 is to wait for others, None is the end."""
        self._next = self._coming()
        parallel = self._next.parallel
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if self._slowest:
                fits = int(left / (1.1 * self._slowest * self.training.parallel / parallel))
                parallel = min(parallel, fits if fits >= SMALLEST else 0)
            elif self._rung(self._next) > left:
                parallel = 0  # it would be trained for nothing
            if left <= 0 or parallel == 0:
                return None
        if self.limit is None:
            return parallel
        found = candidates(self.store.trials())
        begun = [first for first, family in found.items() if family[0].state.name != "WAITING"]
        copies: int = sum(t.state.name == "WAITING" for family in found.values() for t in family[1:])
        # Whatever was begun is finished, even beyond a limit that is lower than in an earlier run.
        left_over = max(0, self.limit - len(begun)) + copies
        if left_over <= 0 and all(any(counted(t) and t.state.is_finished() for t in found[first]) for first in begun):
            return None
        return min(parallel, left_over)


def remembered(store: Store, space: Space) -> list[Trial]:
    """Every finished candidate of a study, from all workers; those that were taken over are counted where they were
    done.

    Raises:
        StorageError: the storage does not answer.
    """
    found = []
    for frozen in store.trials():
        if not frozen.state.is_finished() or not counted(frozen) or "lr" not in frozen.params:
            continue
        state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(frozen.state.name, "failed")
        record = record_of(frozen) or TrialRecord(frozen.number, params=dict(frozen.params))
        found.append(Trial.of(replace(record, number=frozen.number, state=state), space.candidate))
    if not found:
        raise StorageError("no candidate was finished: the budget ended before the first rung. Give more time.")
    return found
