"""What a search is set up with: the problem prepared, its folds, the space, and how to search."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dashpot.core.errors import ConfigError, ConflictError, DashpotError, UnknownNameError
from dashpot.core.recipe import Recipe
from dashpot.core.running.view import ModelView
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Problem
from dashpot.evaluation.cross_validation import enough_rows
from dashpot.evaluation.cross_validation import folds as split_folds
from dashpot.evaluation.losses import SCORES
from dashpot.evaluation.metrics import Metric, find_metric, positive_of, rarer_class, with_positive
from dashpot.evaluation.refined import REFINED
from dashpot.population.members import built
from dashpot.search.config import SearchConfig
from dashpot.search.networks import factory
from dashpot.search.racing.task import Task, equal_folds
from dashpot.search.racing.trial import POPULATION, Say
from dashpot.search.space.space import Space
from dashpot.techniques.stopping.best_weights import Stopping
from dashpot.training.setup import adamw_for

Note = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """The setup of a search, as its later stages need it.

    Attributes:
        problem, prepared: the data, and how the network takes them.
        pool, test: the rows that are searched on, and the test rows.
        task, space, metric, config: what is searched, on what, for what, and how.
        folder: where the networks of complete candidates are kept.
        positive: the code of the class that F1 is of, where there are two.
        started: ``time.monotonic()`` at which the search began.
        race_end: ``time.monotonic()`` at which the races had to end; None without a budget.
        measured: the precision and the number of populations, with the times by which they were chosen.
        whole: the task at full size, on which the final network is trained apart from the race; None where the race's
            networks make the model.
        faster: how many times as fast as during the race an epoch of a network is, since all cores work on it.
        own: the networks are made by a function of the user's own.
        hurried: the user interrupted the search: only what the best so far needs is done.
        note: called with messages for the user.
        say: called with (stage, trials, epoch) after each epoch.
    """

    problem: Problem = field(repr=False)
    prepared: Prepared = field(repr=False)
    pool: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    task: Task
    space: Space
    metric: Metric
    config: SearchConfig
    folder: Path
    started: float
    positive: int | None = None
    race_end: float | None = None
    whole: Task | None = None
    faster: float = 1.0
    own: bool = False
    hurried: bool = False
    measured: Mapping[str, Any] = field(default_factory=dict)
    note: Note = lambda text: None
    say: Say = lambda stage, trials, epoch: None


@contextlib.contextmanager
def noted(note: Note) -> Iterator[None]:
    """Warnings become notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        note(str(warning.message))


def demand_searchable(space: Space, task: Task, schedule: str, *, named: bool) -> None:
    """Refuse techniques that no candidate of a race can have.

    Args:
        named: the user named them; those of the default space are chosen to fit.

    Raises:
        ConfigError: early stopping on a score that a race does not measure, or a relative strength in a population,
            where the network that it is relative to changes.
        ConflictError: a technique that the network cannot have.
    """
    stopping = [(part.name, part.base) for part in space.techniques if isinstance(part.base, Stopping)]
    known = watched(task)
    for name, base in stopping:
        if not base.watching:
            way = "Leave it out; --budget (budget=) ends a search in time, and Ctrl-C at any time."
            raise ConflictError(f"{name} ends one training, and a search trains many side by side. {way}")
        for monitor in base.watching:
            if monitor not in known:
                raise UnknownNameError(f"{name}.monitor", monitor, known, "A race scores held-out rows only.")
    for part in space.techniques:
        relative = getattr(part.base, "relative", None)
        if schedule == POPULATION and relative is not None:
            raise ConfigError(f"{part.name}.relative", "None with the schedule population", relative, "Give strength.")
        if named and relative is None:
            try:
                _attach(space, task, part.base)
            except DashpotError:
                raise
            except Exception:  # whatever a technique of another package raises: its candidates fail, and say why
                continue


def watched(task: Task) -> tuple[str, ...]:
    """The scores that early stopping can watch in a race."""
    refined = (REFINED,) if task.classes else ()
    return tuple(f"val_{name}" for name in (*SCORES["classes" if task.classes else "values"], *refined))


def conflicts(space: Space, task: Task) -> set[frozenset[str]]:
    """Pairs of techniques that want the same part of the default network and cannot both have it, such as two
    penalties whose ``on`` differ in words and overlap in fact.
    """
    claims: dict[str, set[tuple[str, str]]] = {}
    # Whatever a network or a technique raises, it raises in its candidates, too.
    with contextlib.suppress(Exception):
        network = built(lambda: task.make(dict(space.baseline().net)))
        view = ModelView(network, adamw_for(network, None, 1e-3))
        for part in space.techniques:
            with contextlib.suppress(Exception):  # as above
                claims[part.name] = set(part.base.claims(view))
    return {frozenset((a, b)) for a, b in itertools.combinations(claims, 2) if claims[a] & claims[b]}


def _attach(space: Space, task: Task, technique: Technique) -> None:
    network = built(lambda: task.make(dict(space.baseline().net)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Recipe((technique,)).attach(
            network,
            adamw_for(network, None, 1e-3),
            classes=task.classes or None,
            targets="classes" if task.classes else "values",
            batch_size=2,
            closure=technique.evaluations > 1,
            steps=1000,
            steps_per_epoch=100,
        ).close()


def find_goal(problem: Problem, metric: str | None, positive: str | None) -> tuple[Metric, int | None]:
    """The metric of the search, by default accuracy or r2, and the code of the class that it is of, where there are
    two.

    Raises:
        ConfigError: a metric that does not fit the task, the classes or weighted rows; or as for
            :func:`positive_class`.
    """
    usual = "accuracy" if problem.task == "classification" else "r2"
    found = find_metric(metric or usual, problem.task, len(problem.classes))
    code = positive_class(problem, found, positive)
    if code is not None:
        found = with_positive(found, code)
    if problem.weight is not None and not found.takes_weights:
        rule = "one whose function takes (predicted, truth, weight), since rows have weights"
        raise ConfigError("metric", rule, found.name)
    return found, code


def positive_class(problem: Problem, metric: Metric, name: str | None) -> int | None:
    """The class that F1 is of, the same in all parts of the data: the one that was named, or the less frequent one of
    all rows, by weight; of equals the second.

    Raises:
        ConfigError: a name that is no class, or beside another metric than F1.
    """
    if name is not None and not metric.binary:
        raise ConfigError("positive", "None with another metric than f1", name)
    if len(problem.classes) != 2:
        return None
    if name is not None and name not in problem.classes:
        raise ConfigError("positive", f"one of the classes {', '.join(map(repr, problem.classes))}", name)
    fixed = positive_of(metric)
    if fixed is not None and name is None:
        return fixed
    return problem.classes.index(name) if name is not None else rarer_class(problem.labels, problem.weight)


def make_task(
    problem: Problem,
    prepared: Prepared,
    pool: np.ndarray,
    cv: int | None,
    metric: Metric,
    seed: int,
    device: str,
    bfloat16: bool | None,
) -> Task:
    """Folds of the pool, and what else a worker needs.

    Columns are prepared with the statistics of the whole pool, which knows no target and no test row: one table then
    serves all folds.

    Raises:
        ConfigError: more folds than rows of a class, where somebody said how many.
    """
    if problem.task == "classification" and cv is not None:
        enough_rows(np.bincount(problem.labels[pool], minlength=len(problem.classes)), cv)
    positions = split_folds(prepared.y[torch.as_tensor(pool)], cv, seed)
    parts = equal_folds([(pool[train], pool[valid]) for train, valid in positions], seed)
    return Task(
        x=prepared.x,
        y=prepared.y,
        folds=parts,
        make=factory(problem, prepared, pool),
        metric=metric,
        classes=len(problem.classes),
        seed=seed,
        scale=prepared.target.scale,
        device=device,
        bfloat16=bfloat16,
        # Bags of words have no stacked form, and none was faster by vmap.
        stack=prepared.modality != "text",
        modality=prepared.modality,
        weight=prepared.weight,
    )
