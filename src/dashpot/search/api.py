"""``dashpot.tune``: the search from beginning to end."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core.errors import ConfigError
from dashpot.data import Prepared, Problem
from dashpot.machine import versions
from dashpot.metrics import find_metric
from dashpot.scores import Criterion
from dashpot.search import course as courses
from dashpot.search import effects, final
from dashpot.search.options import Options as Options
from dashpot.search.race import Course, Runner, Say
from dashpot.search.record import record
from dashpot.search.result import TuneResult as TuneResult
from dashpot.search.setup import default_space, make_task, starting_points
from dashpot.search.space import Candidate, Space, clipped
from dashpot.search.store import JOURNAL, Store
from dashpot.search.task import Factory, Task
from dashpot.search.worker import Worker, remembered, with_networks

FINALISTS = 6
"""Complete candidates that are trained on all folds and may enter the final model."""
SEEDS, NETWORKS = 4, 60
"""Seeds more of the candidates in the final model, and their networks, at most: they are for time that would be left over."""
REPEATS = 0.15
"""The share of the budget that must be left for the best finalists to be trained again with another seed."""
END, FINALS = 0.9, 0.12
"""The share of a budget after which only the report is made, and that of the finals where the winner is to be explained."""
Note = Callable[[str], None]


class Search:
    """A search over one problem: set up once, worked on by any number of workers, finished by one.

    Args:
        folder: where the journal and the networks of complete candidates are kept.
        make: a network of the user's own, from its options; by default the built-in one for the data.
        loss: of the training, by default cross entropy or squared error; for values candidates are ranked by it too.
        space: from the prepared data to the space; by default :func:`default_space`.
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
    ) -> None:
        options.check()
        self.started = time.monotonic()
        self.problem, self.options, self.folder, self.note, self.say = problem, options, folder, note, say
        self.hurried = False  # set where the user asked for an end: what is not needed for the best so far is left out
        self.metric = find_metric(options.metric or ("accuracy" if problem.task == "classification" else "r2"), problem.task, len(problem.classes))
        self.pool: np.ndarray = np.arange(problem.n)
        self.test: np.ndarray = np.arange(0)
        if options.test:
            self.pool, self.test = problem.pool_and_test(options.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.prepared = problem.prepare(self.pool, scaling="robust")
        for warning in caught:
            note(str(warning.message))
        task: Task = make_task(problem, self.prepared, self.pool, options.cv, self.metric, options.seed, options.device, options.low)
        self.task = replace(task, make=make or task.make, loss=loss)
        self.space: Space = (
            space(self.prepared) if space else default_space(problem, self.prepared, options.wanted, options.without, options.networks)
        )

    def settings(self) -> dict[str, Any]:
        """What all workers must agree on."""
        return {
            "version": versions()["dashpot"],
            "data": self.problem.fingerprint,
            "space": self.space.describe(),
            "folds": self.options.cv,
            "seed": self.options.seed,
            "metric": self.metric.name,
        }

    def open(self) -> Store:
        """The study, made or joined."""
        url = self.options.storage or str(self.folder / JOURNAL)
        return Store(url, self.options.name, self.settings(), sampler=self.options.sampler, seed=self.options.seed, grid=self._grid())

    def course(self, store: Store) -> Course:
        """The course that all workers run; the first of them measures, the others read.

        The first also puts the plain network, the whole cocktail and good combinations at the head of the queue.
        """
        if (found := store.turn("course")) is not None:
            return courses.from_dict(found)
        # Widths, depths and ingredients cost differently: a mixture, as the race will be.
        some = [*self.first_candidates(), *self._random(3)]
        pace = courses.pace(self.task, some, self.options.batch_size or courses.batch_size_for(self._rows()))
        course = courses.fit_course(
            self._rows(),
            self.options.cv,
            pace,
            self.options.budget,
            epochs=self.options.epochs,
            batch_size=self.options.batch_size,
            race=self.options.race,
            spent=time.monotonic() - self.started,
        )
        most = max(2, course.lanes - 1)
        for candidate in self.first_candidates()[: most if self.options.trials is None else min(most, self.options.trials)]:
            store.enqueue(candidate.params)
        store.set("pace", pace.seconds)
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
            name in dimensions and (value in d.values if hasattr(d := dimensions[name], "values") else d.low <= value <= d.high)
            for name, value in params.items()
        ) and all(f"{part.name}.{f}" in params for part in self.space.ingredients if params.get(part.name) for f in part.fields)

    def _rows(self) -> int:
        return len(self.task.folds[0][0])

    def _grid(self) -> dict[str, list[Any]]:
        grid: dict[str, list[Any]] = {}
        for name, d in self.space.dimensions().items():
            grid[name] = list(d.values) if hasattr(d, "values") else list(np.geomspace(d.low, d.high, 3) if d.log else np.linspace(d.low, d.high, 3))
        return grid

    def work(self, store: Store, course: Course) -> Worker:
        """Race until the time or the candidates are used up."""
        budget = self.options.budget
        deadline = None if budget is None else self.started + self.options.race * budget
        worker = Worker(
            self.task,
            self.space,
            course,
            store,
            self.folder,
            deadline=deadline,
            trials=self.options.trials,
            say=self.say,
            note=self.note,
        )
        worker.run()
        return worker

    def finish(self, store: Store, course: Course, member_steps: int) -> TuneResult:
        """Choose, assemble, measure, and report."""
        budget = self.options.budget
        # What each ingredient earned has a share of its own: the finals may not take it.
        end = None if budget is None else self.started + END * budget
        finals = end if end is None or budget is None or not self.options.explain else self.started + (self.options.race + FINALS) * budget
        every = list(range(len(self.task.folds)))
        runners = remembered(store, self.space)
        # What the races took by epoch is surer than what was measured before them.
        trained = course.folds * sum(r.epochs for r in runners)
        pace = (sum(r.seconds for r in runners) / trained if trained else 0.0) or float(store.get("pace") or 0.0)
        complete = sorted((r for r in runners if r.state == "complete" and math.isfinite(r.score)), key=lambda r: r.score)
        plain = next((r for r in complete if dict(r.candidate.params) == dict(self.space.plain().params)), None)
        most = self._affordable(course, pace, finals)
        wanted = complete[:most] + ([plain] if plain is not None and plain not in complete[:most] else [])
        wanted = wanted or sorted((r for r in runners if r.state != "failed"), key=lambda r: r.score)[:1]
        if not wanted:
            raise ConfigError("space", "one in which some candidate trains", "one in which every loss became infinite", "Lower the learning rates.")
        finalists = with_networks(self.task, course, self.folder, wanted, folds=every, deadline=finals, say=self.say)
        every = every[: len(finalists[0].tensors)] if finalists else every
        if not finalists:
            raise ConfigError("budget", "enough to train one candidate to its end", f"{budget:g} s" if budget else None, "Give more time.")
        choice = final.choose(finalists)
        course = replace(course, epochs=choice.chosen.planned or course.epochs)
        pace *= course.epochs
        again = self._again(course, finalists, choice, plain, every, end, pace)
        if again:
            # Only those that were trained as often are compared: the best of many is partly lucky, and was, with its first seed.
            first = {r.number: r for r in finalists}
            choice = final.choose([final.averaged(first[r.number], [first[r.number], r]) for r in again])
        found = effects.Effects()
        if self.options.explain and not self.hurried:
            chosen_once = next(r for r in finalists if r.number == choice.chosen.number)
            found = effects.measure(
                self.task, course, self.space, chosen_once, every, deadline=end, seconds_per_member=pace, say=self.say, note=self.note
            )
        finalists = [*finalists, *again]
        kind = self.options.ensemble
        more = self._more(course, finalists, choice, every, end, pace)
        made = final.assemble(self.task, [*finalists, *more], choice, every, "folds" if kind == "refit" else kind, calibrate=self.options.calibrate)
        if kind == "refit":
            made = final.refit(self.task, course, self.pool, choice, made)
        measured = record(self, runners, finalists, choice, made, course, found, plain, member_steps, every)
        chosen = choice.chosen.candidate
        return TuneResult(chosen.recipe, chosen.lr, chosen.net, made.network, made.decision, measured, self.prepared, self.test)

    def _affordable(self, course: Course, pace: float, end: float | None) -> int:
        """How many finalists can be trained on the folds that the race left out, in the time there is."""
        missing = len(self.task.folds) - course.folds
        if end is None or not missing or not pace:
            return FINALISTS
        return max(1, min(FINALISTS, int((end - time.monotonic()) / (1.2 * pace * course.epochs * missing)) - 1))

    def _again(
        self,
        course: Course,
        finalists: Sequence[Runner],
        choice: final.Choice,
        plain: Runner | None,
        every: Sequence[int],
        end: float | None,
        pace: float,
    ) -> list[Runner]:
        """The best two, the one chosen so far and the plain network with another seed on all folds; nothing where the time does not allow it."""
        if self.hurried:
            return []
        numbers = {*[r.number for r in sorted(finalists, key=lambda r: r.score)[:2]], choice.chosen.number, *([plain.number] if plain else [])}
        wanted = [Runner(r.number, r.candidate, repeat=1, planned=r.planned) for r in finalists if r.number in numbers]
        if end is not None and self.options.budget is not None:
            now = time.monotonic()
            left = self.options.budget - (now - self.started)
            # What each ingredient earned comes after this, and must not suffer.
            later = len(effects.arms(self.space, choice.chosen.candidate)) if self.options.explain else 0
            if left < REPEATS * self.options.budget or 1.1 * pace * len(every) * (len(wanted) + later) > end - now:
                return []
        found = with_networks(self.task, course, self.folder, wanted, folds=every, deadline=end, say=self.say)
        whole = [r for r in found if len(r.tensors) == len(every) and r.epochs == (r.planned or course.epochs)]
        return whole if len(whole) > 1 else []

    def _more(
        self, course: Course, finalists: Sequence[Runner], choice: final.Choice, every: Sequence[int], end: float | None, pace: float
    ) -> list[Runner]:
        """Further seeds of the candidates in the final model while time is left: they steady what predicts, and change nothing that was compared."""
        found: list[Runner] = []
        if self.hurried or end is None or self.options.ensemble == "refit":
            return found
        counts = final.picked(self.task, finalists, choice, every, self.options.ensemble)
        first = {r.number: r for r in reversed(finalists)}
        wanted = [first[number] for number in sorted(counts, key=lambda number: -counts[number])]
        begin = 1 + max(r.repeat for r in finalists)
        each = 1.3 * pace * len(every)  # a few members in a stack are slower than many
        for repeat in range(begin, begin + SEEDS):
            began = time.monotonic()
            fits = int((end - began) / (1.1 * each)) if each else len(wanted)
            if fits < 1 or len(found) * len(every) >= NETWORKS:
                break
            seeds = [Runner(r.number, r.candidate, repeat=repeat, planned=r.planned) for r in wanted[:fits]]
            trained = with_networks(self.task, course, self.folder, seeds, folds=every, deadline=end, say=self.say)
            whole = [r for r in trained if len(r.tensors) == len(every) and r.epochs == (r.planned or course.epochs)]
            found += whole
            if len(whole) < len(seeds):
                break
            each = (time.monotonic() - began) / len(seeds)
        return found


def run(problem: Problem, options: Options, folder: Path, *, note: Note = lambda text: None, say: Say = lambda *args: None) -> TuneResult:
    """A whole search by one worker: set up, race, finish."""
    search = Search(problem, options, folder, note=note, say=say)
    store = search.open()
    try:
        course = search.course(store)
        worker = search.work(store, course)
        return search.finish(store, course, worker.member_steps)
    finally:
        store.close()
