"""A search from beginning to end: set up once, worked on by any number of workers, finished by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dashpot.core import native
from dashpot.core.environment import versions
from dashpot.data import Prepared, Problem
from dashpot.data.kinds import KINDS
from dashpot.data.splitting import warn_of_rare
from dashpot.evaluation.losses import Criterion
from dashpot.runs.teachers import demand_same_inputs
from dashpot.search import finetuned, images, texts
from dashpot.search.arguments import name_of, rate
from dashpot.search.config import SearchConfig
from dashpot.search.inputs import layers, staged
from dashpot.search.measurements import Measurements
from dashpot.search.outcome import tested
from dashpot.search.outcome.finish import FINALISTS, finish
from dashpot.search.outcome.result import TuneResult
from dashpot.search.race_plan import prolonged, race_plan
from dashpot.search.racing import budget as budgets
from dashpot.search.racing import memory
from dashpot.search.racing.task import Factory, Task
from dashpot.search.racing.trial import Say, TrainingBudget
from dashpot.search.racing.worker import Worker
from dashpot.search.setup import Note, Setup, conflicts, demand_searchable, find_goal, make_task, noted
from dashpot.search.space.batch_sizes import default_batch_size, with_batches
from dashpot.search.space.defaults import default_space, first_candidates
from dashpot.search.space.images import note_pictures
from dashpot.search.space.space import Candidate, Space
from dashpot.search.storage.study import JOURNAL, Store


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
        started: ``time.monotonic()`` from which the budget counts; by default now.
    """

    def __init__(
        self,
        problem: Problem,
        config: SearchConfig,
        folder: Path,
        *,
        note: Note = lambda text: None,
        say: Say = lambda *args: None,
        make: Factory | None = None,
        loss: Criterion | None = None,
        space: Callable[[Prepared], Space] | None = None,
        usual_batches: bool | None = None,
        processes: int = 1,
        started: float | None = None,
    ) -> None:
        config.check()
        self.started = time.monotonic() if started is None else started
        native.prepare(images=problem.kind == "image")
        self.problem, self.config, self.folder, self.note, self.say = problem, config, folder, note, say
        self.processes = processes
        self.measurements = Measurements()
        self.hurried = False  # set where the user asked for an end: only what the best so far needs is done
        self.metric, self.positive = find_goal(problem, config.metric, config.positive)
        self.pool: np.ndarray = np.arange(problem.n)
        self.test: np.ndarray = np.arange(0)
        if config.test:
            self.pool, self.test = problem.pool_and_test(config.seed)
        with noted(note):
            self.prepared = problem.prepare(self.pool, scaling="robust").with_pictures(config.pictures)
        tested.demand_fit(config.tta, self.prepared.x, self.prepared.modality)
        if make is None and space is None and config.recipe is None:
            note_pictures(self.prepared, config.pictures is not None, note)
        task: Task = make_task(
            problem, self.prepared, self.pool, config.cv, self.metric, config.seed, config.device, config.bfloat16
        )
        self.task = replace(
            task, make=staged(make, self.prepared) if make else task.make, loss=loss, calibrated=config.calibrate
        )  # nothing is known of networks yet
        self.whole = self.task if images.apart(self.task, config) else None
        if self.whole is not None:
            # A network of the user's own may take images of one size only.
            self.task = images.for_race(self.whole, config, smaller=make is None)
        self.cv = len(self.task.folds)
        if self.metric.binary and self.positive is not None:
            note(f"F1 is of class {problem.classes[self.positive]!r} throughout.")
        if problem.task == "classification":
            with noted(note):
                warn_of_rare(problem.classes, problem.labels[self.pool], self.cv, "fold")
        self._make = make
        found = (
            space(self.prepared)
            if space
            else default_space(problem, self.prepared, config.recipe, config.without, config.networks)
        )
        if self.whole is not None and space is None:
            found = images.of_one_width(found, config)
        if config.lr is not None:
            found = found.with_lr(rate(config.lr))
        named = config.recipe is not None or (space is not None and make is None)
        demand_same_inputs((part.base for part in found.techniques), self.prepared.preprocessing, problem.classes)
        demand_searchable(found, self.task, config.schedule, named=named)
        found = found.with_conflicts(conflicts(found, self.task))
        usual = space is None if usual_batches is None else usual_batches
        # Where networks are trained one by one, a step takes the batch of its kind, however many rows there are.
        once = (
            KINDS[self.task.modality or ""].batch_size if self.whole is not None or texts.of_texts(self.task) else None
        )
        self.space: Space = with_batches(found, config.batch_size, self._rows(), usual=usual, once=once)

    def settings(self) -> dict[str, Any]:
        """What all workers must agree on."""
        return {
            "version": versions()["dashpot"],
            "data": self.problem.fingerprint,
            "space": self.space.describe(),
            "folds": self.cv,
            "seed": self.config.seed,
            "metric": self.metric.name,
            **({"positive": self.config.positive} if self.config.positive is not None else {}),
            "calibrate": self.config.calibrate,
            "schedule": self.config.schedule,
            "test part": self.config.test,
            **({"race": "of images, the final network apart"} if self.whole is not None else {}),
            "model": name_of(self._make),
            "loss": name_of(self.task.loss),
            "network": layers(self.task.make, self.space.baseline().net),
        }

    def open(self) -> Store:
        """The study, made or joined."""
        url = self.config.storage or str(self.folder / JOURNAL)
        return Store(
            url,
            self.config.study,
            self.settings(),
            sampler=self.config.sampler,
            seed=self.config.seed,
            grid=self.space.grid(),
        )

    def training_budget(self, store: Store) -> TrainingBudget:
        """The training budget that all workers run; the first of them measures, the others read.

        The first also puts the baseline, the whole default space and good combinations at the head of the queue.
        """
        found = store.turn("training budget")
        # Widths, depths and techniques cost differently: a mixture, as the race will be.
        some = [*self.first_candidates(), *self._random(3)]
        if texts.of_texts(self.task):
            some = texts.one_of_each(some)
        batch = default_batch_size(self.space, self.config.batch_size, self._rows())
        self.task = self.measurements.take(self.task, store, some, batch, self.config, self.note)
        if found is not None:
            return prolonged(store, budgets.from_dict(found), self.started, self.config.budget)
        if texts.of_texts(self.task):
            self.note(texts.first_answer(self.task))
        members = memory.most_members(self.task, some, self.processes)
        pace = budgets.Pace(0.0)
        if self.config.budget is not None:  # a number of candidates takes what it takes
            pace = budgets.pace(self.task, some[: max(1, members // budgets.SAMPLED_FOLDS)], batch)
            pace = budgets.Pace(pace.seconds / self.measurements.gain)
        config = finetuned.within(self.task, self.config, store, batch, self.started)
        spent = time.monotonic() - self.started
        plan = race_plan(self.task, config, spent, apart=self.whole is not None)
        training = budgets.fit_budget(
            self._rows(),
            plan.folds,
            pace,
            config.budget,
            epochs=self.config.epochs,
            batch_size=batch,
            race=plan.share,
            spent=spent,
            schedule=self.config.schedule,
            members=members,
            last=plan.last,
            bracket=plan.bracket,
            steps=plan.steps,
            longest=plan.longest,
            parallel=plan.parallel,
            most=plan.most,
            left=plan.left,
        )
        if members < self.cv * budgets.PARALLEL and members < (training.parallel + 1) * training.folds:
            self.note(
                f"memory: half of what is free holds {members} networks, so races have {training.parallel} candidates"
                f" on {training.folds} fold{'s' * (training.folds > 1)}"
            )
        # Where races are few, all that is good most often is raced by some worker.
        first = training.parallel * self.processes if plan.kept else max(2, training.parallel - 1)
        for candidate in self.first_candidates()[: min(first, self.config.trials or first)]:
            store.enqueue(candidate.params)
        store.set("pace", pace.seconds)
        if (budget := config.budget) is not None and self.config.budget is not None:
            after: Any = {"least": plan.share, "explain": self.config.explain, "finalists": FINALISTS}
            share = budgets.race_share(training, pace, self.cv, budget, **after)
            kept = plan.lasting(spent + texts.SLACK * budgets.seconds_of(training, pace), budget)
            store.set("share", (kept if plan.kept else share) * budget / self.config.budget)
        store.set("training budget", budgets.to_dict(training))
        return training

    def spread_out(self, store: Store) -> None:
        """The number of populations once more, for what follows the race and takes about as much."""
        self.task = self.measurements.again(self.task, store)

    def _random(self, count: int) -> list[Candidate]:
        """Some candidates of the space."""
        import optuna

        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self.config.seed))
        return [self.space.sample(study.ask()) for _ in range(count)]

    def first_candidates(self) -> list[Candidate]:
        """Baseline, everything, and combinations that are often good, without repeats."""
        return first_candidates(self.space)

    def _rows(self) -> int:
        return len(self.task.folds[0][0])

    def race_end(self, store: Store) -> float | None:
        """``time.monotonic()`` at which the race ends and the finals begin."""
        budget = self.config.budget
        return None if budget is None else self.started + float(store.get("share") or self.config.race) * budget

    def work(self, store: Store, training: TrainingBudget) -> Worker:
        """Race until the time or the candidates are used up."""
        worker = Worker(
            self.task,
            self.space,
            training,
            store,
            self.folder,
            deadline=self.race_end(store),
            trials=self.config.trials,
            say=self.say,
            note=self.note,
        )
        worker.run()
        return worker

    def finish(self, store: Store, training: TrainingBudget) -> TuneResult:
        """Choose, assemble, measure, and report."""
        return finish(self.setup(self.race_end(store)), store, training)

    def setup(self, race_end: float | None = None) -> Setup:
        """What the search was set up with, for its end."""
        return Setup(
            problem=self.problem,
            prepared=self.prepared,
            pool=self.pool,
            test=self.test,
            task=self.task,
            space=self.space,
            metric=self.metric,
            positive=self.positive,
            config=self.config,
            folder=self.folder,
            started=self.started,
            race_end=race_end,
            whole=self.whole,
            own=self._make is not None,
            faster=self.measurements.faster,
            hurried=self.hurried,
            measured=self.measurements.record,
            note=self.note,
            say=self.say,
        )


def run(
    problem: Problem,
    config: SearchConfig,
    folder: Path,
    *,
    note: Note = lambda text: None,
    say: Say = lambda *args: None,
) -> TuneResult:
    """A whole search by one worker: set up, race, finish."""
    store = (search := Search(problem, config, folder, note=note, say=say)).open()
    try:
        training = search.training_budget(store)
        search.work(store, training)
        return search.finish(store, training)
    finally:
        store.close()
