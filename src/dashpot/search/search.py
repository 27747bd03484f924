"""``dashpot.tune``: the search from beginning to end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core import native
from dashpot.core.environment import versions
from dashpot.data import Prepared, Problem
from dashpot.evaluation.losses import Criterion
from dashpot.evaluation.metrics import find_metric
from dashpot.search.config import Options
from dashpot.search.inputs import staged
from dashpot.search.outcome.finish import FINALISTS, finish
from dashpot.search.outcome.result import TuneResult
from dashpot.search.racing import budget as courses
from dashpot.search.racing import memory
from dashpot.search.racing.task import Factory, Task
from dashpot.search.racing.trial import Say, TrainingBudget
from dashpot.search.racing.worker import Worker
from dashpot.search.setup import default_space, make_task, starting_points
from dashpot.search.space.batch_sizes import course_size, with_batches
from dashpot.search.space.distributions import Span, clipped
from dashpot.search.space.space import Candidate, Space
from dashpot.search.storage.study import JOURNAL, Store

Note = Callable[[str], None]


class Search:
    """A search over one problem: set up once, worked on by any number of workers, finished by one.

    Args:
        folder: where the journal and the networks of complete candidates are kept.
        make: a network of the user's own, from its options; by default the built-in one for the data.
        loss: of the training, by default cross entropy or squared error; for values candidates are ranked by it too.
        space: from the prepared data to the space; by default :func:`default_space`.
        usual_batches: search the usual batch sizes where nothing else is said; by default where the space is the
            default one.
        processes: workers of this machine, which share its memory.
    """

    def __init__(
        self,
        problem: Problem,
        options: Options,
        folder: Path,
        *,
        note: Note = lambda text: None,
        say: Say = lambda *args: None,
        make: Factory | None = None,
        loss: Criterion | None = None,
        space: Callable[[Prepared], Space] | None = None,
        usual_batches: bool | None = None,
        processes: int = 1,
    ) -> None:
        options.check()
        self.started = time.monotonic()
        native.prepare()
        self.problem, self.options, self.folder, self.note, self.say = problem, options, folder, note, say
        self.processes = processes
        self.hurried = False  # set where the user asked for an end: what is not needed for the best so far is left out
        self.metric = find_metric(
            options.metric or ("accuracy" if problem.task == "classification" else "r2"),
            problem.task,
            len(problem.classes),
        )
        self.pool: np.ndarray = np.arange(problem.n)
        self.test: np.ndarray = np.arange(0)
        if options.test:
            self.pool, self.test = problem.pool_and_test(options.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.prepared = problem.prepare(self.pool, scaling="robust")
        for warning in caught:
            note(str(warning.message))
        task: Task = make_task(
            problem, self.prepared, self.pool, options.cv, self.metric, options.seed, options.device, options.low
        )
        self.task = replace(
            task, make=staged(make, self.prepared) if make else task.make, loss=loss, calibrated=options.calibrate
        )  # nothing is known of networks yet
        self._make = make
        found = (
            space(self.prepared)
            if space
            else default_space(problem, self.prepared, options.wanted, options.without, options.networks)
        )
        usual = space is None if usual_batches is None else usual_batches
        self.space: Space = with_batches(found, options.batch_size, self._rows(), usual=usual)

    def settings(self) -> dict[str, Any]:
        """What all workers must agree on."""
        return {
            "version": versions()["dashpot"],
            "data": self.problem.fingerprint,
            "space": self.space.describe(),
            "folds": self.options.cv,
            "seed": self.options.seed,
            "metric": self.metric.name,
            "calibrate": self.options.calibrate,
            "schedule": self.options.schedule,
            "test part": self.options.test,
            "model": _named(self._make),
            "loss": _named(self.task.loss),
        }

    def open(self) -> Store:
        """The study, made or joined."""
        url = self.options.storage or str(self.folder / JOURNAL)
        return Store(
            url,
            self.options.name,
            self.settings(),
            sampler=self.options.sampler,
            seed=self.options.seed,
            grid=self._grid(),
        )

    def course(self, store: Store) -> TrainingBudget:
        """The course that all workers run; the first of them measures, the others read.

        The first also puts the plain network, the whole cocktail and good combinations at the head of the queue.
        """
        if (found := store.turn("course")) is not None:
            return courses.from_dict(found)
        # Widths, depths and ingredients cost differently: a mixture, as the race will be.
        some = [*self.first_candidates(), *self._random(3)]
        batch = course_size(self.space, self.options.batch_size, self._rows())
        members = memory.most_members(self.task, some, self.processes)
        pace = courses.Pace(0.0)
        if self.options.budget is not None:  # a number of candidates takes what it takes
            pace = courses.pace(self.task, some[: max(1, members // courses.SAMPLED_FOLDS)], batch)
        course = courses.fit_budget(
            self._rows(),
            self.options.cv,
            pace,
            self.options.budget,
            epochs=self.options.epochs,
            batch_size=batch,
            race=self.options.race,
            spent=time.monotonic() - self.started,
            schedule=self.options.schedule,
            members=members,
        )
        if members < self.options.cv * courses.LANES and members < (course.lanes + 1) * course.folds:
            self.note(
                f"memory: half of what is free holds {members} networks, so races have {course.lanes} candidates on"
                f" {course.folds} fold{'s' * (course.folds > 1)}"
            )
        most = max(2, course.lanes - 1)
        for candidate in self.first_candidates()[
            : most if self.options.trials is None else min(most, self.options.trials)
        ]:
            store.enqueue(candidate.params)
        store.set("pace", pace.seconds)
        if (budget := self.options.budget) is not None:
            explain, least = self.options.explain, self.options.race
            share = courses.race_share(
                course, pace, self.options.cv, budget, least=least, explain=explain, finalists=FINALISTS
            )
            store.set("share", share)
        store.set("course", courses.to_dict(course))
        return course

    def _random(self, count: int) -> list[Candidate]:
        """Some candidates as the space has them."""
        import optuna

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.options.seed))
        return [self.space.sample(study.ask()) for _ in range(count)]

    def first_candidates(self) -> list[Candidate]:
        """Plain, everything, and combinations that are often good, without repeats."""
        plain = self.space.plain()
        found = [plain]
        dimensions = self.space.dimensions()
        for point in starting_points().values():
            fits = {k: clipped(v, dimensions[k]) for k, v in point.items() if k in dimensions}
            if any(v is True for v in fits.values()):
                candidate = self.space.candidate({**plain.params, **fits})
                if dict(candidate.params) not in [dict(c.params) for c in found] and self._inside(candidate.params):
                    found.append(candidate)
        default = self.space.default()
        return [*found, default] if dict(default.params) not in [dict(c.params) for c in found] else found

    def _inside(self, params: Mapping[str, Any]) -> bool:
        dimensions = self.space.dimensions()
        return all(
            name in dimensions
            and (value in d.values if hasattr(d := dimensions[name], "values") else d.low <= value <= d.high)
            for name, value in params.items()
        ) and all(
            f"{part.name}.{f}" in params
            for part in self.space.ingredients
            if params.get(part.name)
            for f in part.fields
        )

    def _rows(self) -> int:
        return len(self.task.folds[0][0])

    def _grid(self) -> dict[str, list[Any]]:
        grid: dict[str, list[Any]] = {}
        for name, d in self.space.dimensions().items():
            points = (
                list(d.values)
                if hasattr(d, "values")
                else list(np.geomspace(d.low, d.high, 3) if d.log else np.linspace(d.low, d.high, 3))
            )
            grid[name] = [round(p) for p in points] if isinstance(d, Span) and d.integer else points
        return grid

    def race_end(self, store: Store) -> float | None:
        """``time.monotonic()`` at which the race ends and the finals begin."""
        budget = self.options.budget
        return None if budget is None else self.started + float(store.get("share") or self.options.race) * budget

    def work(self, store: Store, course: TrainingBudget) -> Worker:
        """Race until the time or the candidates are used up."""
        worker = Worker(
            self.task,
            self.space,
            course,
            store,
            self.folder,
            deadline=self.race_end(store),
            trials=self.options.trials,
            say=self.say,
            note=self.note,
        )
        worker.run()
        return worker

    def finish(self, store: Store, course: TrainingBudget) -> TuneResult:
        """Choose, assemble, measure, and report."""
        return finish(self, store, course)


def _named(function: Callable[..., Any] | None) -> str | None:
    """Where a function of the user's own comes from: another one with the same name cannot be told from it."""
    return (
        None
        if function is None
        else f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    )


def run(
    problem: Problem, options: Options, folder: Path, *, note: Note = lambda text: None, say: Say = lambda *args: None
) -> TuneResult:
    """A whole search by one worker: set up, race, finish."""
    search = Search(problem, options, folder, note=note, say=say)
    store = search.open()
    try:
        course = search.course(store)
        search.work(store, course)
        return search.finish(store, course)
    finally:
        store.close()
