"""``dashpot.tune``: a search driven from Python, with the caller's own data and network where wanted."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dashpot.core.errors import ConfigError, DashpotError, UnknownNameError
from dashpot.core.space import check_whole
from dashpot.core.technique import Technique
from dashpot.data import Prepared, Problem
from dashpot.evaluation.losses import Criterion
from dashpot.runs.saved import open_folder
from dashpot.search.arguments import as_text, dimension, rate, seconds, wanted_of
from dashpot.search.config import Options
from dashpot.search.inputs import Inputs, admitted, demand_fit, factory_of, problem_of, staged
from dashpot.search.interrupts import Interrupts
from dashpot.search.outcome.result import TuneResult
from dashpot.search.racing import checkpoints as artifacts
from dashpot.search.racing.trial import HALVING, Trial
from dashpot.search.search import Search
from dashpot.search.setup import default_ingredients, default_space
from dashpot.search.space.batch_sizes import sizes_of
from dashpot.search.space.distributions import Span, clipped
from dashpot.search.space.space import Ingredient, Space, ingredients

BUDGET = 300.0
"""Seconds where neither a budget nor a number of candidates is given."""
LR, LR_DEFAULT = (1e-4, 1e-2), 1e-3
"""Learning rates for a network of the caller's own."""
Wanted = str | Technique | Iterable[str | Technique]


def tune(
    data: Any,
    *,
    target: str | None = None,
    task: str | None = None,
    model: Callable[..., nn.Module] | None = None,
    net: Mapping[str, Any] | None = None,
    recipe: Wanted | None = None,
    without: Sequence[str] = (),
    lr: float | tuple[float, float] | None = None,
    space: Space | None = None,
    budget: str | float | None = None,
    trials: int | None = None,
    cv: int = 5,
    metric: str | None = None,
    epochs: int | None = None,
    batch_size: int | Sequence[int] | None = None,
    loss: Criterion | None = None,
    sampler: str = "tpe",
    schedule: str = HALVING,
    ensemble: str = "finalists",
    calibrate: bool = True,
    explain: bool = True,
    test: bool = True,
    storage: str | None = None,
    study: str = "dashpot",
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool = True,
) -> TuneResult:
    """Search the combination of regularizers and their strengths, on all folds of a cross-validation at once, and say
    what each earned.

    Candidates are trained together; what cannot be is trained one by one, and said. They are ranked by a proper score
    (log-loss or RMSE) on rows that they have not seen; the decision is then fitted to ``metric``. Ctrl-C gives the best
    so far.

    Args:
        data: ``(X, y)``; a path as for ``dashpot tune``; or a :class:`dashpot.data.Problem`. Without ``model``, X is a
            table (array, sparse matrix, data frame) or images [n, h, w], [n, h, w, c] or [n, c, h, w], which are
            prepared for the built-in network. With ``model``, X may be a tensor or an array of any shape (images,
            sequences, numbers of tokens): it is used as it is, and so is a ``y`` of values. Data frames and paths are
            prepared either way.
        target: the target column, for a path to a table.
        task: ``"classification"`` or ``"regression"``. By default guessed; where X is used as it is, integers and text
            are classes and floats values.
        model: returns a fresh network: logits [n, classes], or as many values as ``y`` has. Called with the options in
            ``net`` as keywords.
        net: what of the network is searched: from names to values such as ``{"width": (64, 128)}``; a single value is
            fixed. For the built-in networks their own options.
        recipe: ingredients, as text (``"l1:strength=1e-6..1e-2"``, ``"mixup"``, ``"dropout:p=0.2"``) or techniques,
            whose ranges are searched. By default all that fit the data and the network.
        without: names of ingredients to leave out.
        lr: range of the learning rate, or one number.
        space: a ready space, in place of ``recipe``, ``lr`` and ``net``.
        budget: seconds for everything, or text such as ``"90s"``, ``"10m"``, ``"2h"``. With neither budget nor trials,
            five minutes.
        trials: candidates, at least 2. With trials alone the same call gives the same result on one machine; a budget
            depends on how fast it is.
        cv: folds, at least 2.
        metric: what counts: accuracy (default), balanced_accuracy, f1, f1_macro, log_loss, brier, roc_auc; r2
            (default), rmse, mae.
        epochs: of a candidate that is never dropped; by default about 3,000 steps.
        batch_size: rows per step: one number, or several to search. By default about a fiftieth of the rows, or twice
            that; with a ready ``space`` that has no batch sizes the first of these.
        loss: of training, from (output, target) to the loss of each sample; by default cross entropy or squared error.
            For values, candidates are ranked by it too; for classes by log-loss all the same.
        sampler: tpe, random, quasi-random, gp or grid.
        schedule: who leaves a race: ``"halving"`` (all but a third, twice), ``"hyperband"`` (every second and third
            race later, or nobody), ``"none"``, or ``"population"`` (nobody; the worst take over networks of the best,
            with other strengths, while they train).
        ensemble: ``"finalists"``, ``"folds"`` (of the chosen candidate) or ``"refit"`` (one network on all rows but the
            test part).
        calibrate: fit a temperature to held-out predictions; candidates are then ranked by the log-loss that one
            temperature leaves them.
        explain: retrain the chosen candidate without each ingredient, and with each alone.
        test: keep a fifth of the rows for the report; False searches on all rows, and then nothing is reported on rows
            unseen.
        storage, study: an Optuna storage URL and the name in it, to share the search among processes and machines that
            make the same call.
        seed: of the split, the folds and the training.
        device: ``"auto"`` takes a GPU if there is one.
        out: a new or empty folder for everything; by default nothing is kept but the result.
        progress: lines on standard error.

    Returns:
        The result: ``predict``, ``predict_proba``, ``save``, ``summary``.

    Raises:
        ConfigError: an argument that its rule forbids, or a budget that is too small, which says what would do.
        DataError, StorageError: data that cannot be used, or a store that cannot be reached.

    Examples:
        >>> import dashpot, numpy, torch
        >>> X = numpy.random.default_rng(0).normal(size=(150, 4)); y = numpy.where(X[:, 0] > 0, "yes", "no")
        >>> result = dashpot.tune((X, y), trials=4, epochs=3, cv=2, explain=False, progress=False)
        >>> result.predict(X[:3]).shape, result.predict_proba(X[:3]).shape
        ((3,), (3, 2))

        A network of your own, on tensors as they are:

        >>> def make(width):
        ...     layers = torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
        ...     return torch.nn.Sequential(torch.nn.Flatten(), *layers)
        >>> X = torch.randn(100, 1, 4, 4); y = (X[:, 0, 0, 0] > 0).long()
        >>> options = {"recipe": ["mixup", "weight-decay"], "net": {"width": (8, 16)}, "trials": 4}
        >>> options |= {"epochs": 3, "cv": 2, "explain": False, "progress": False}
        >>> result = dashpot.tune((X, y), model=make, **options)
        >>> result.predict(X[:3]).dtype
        dtype('int64')
    """
    wanted = None if recipe is None else wanted_of(recipe)
    options = Options(
        budget=seconds(budget) if budget is not None else BUDGET if trials is None else None,
        trials=None if trials is None else check_whole("trials", trials, low=2),
        cv=check_whole("cv", cv, low=2),
        metric=metric,
        wanted=wanted,
        without=tuple(without),
        sampler=sampler,
        schedule=schedule,
        ensemble=ensemble,
        calibrate=calibrate,
        explain=explain,
        test=test,
        epochs=None if epochs is None else check_whole("epochs", epochs),
        batch_size=sizes_of(batch_size),
        storage=storage,
        name=study,
        seed=check_whole("seed", seed, low=0),
        device=device,
    )
    if space is not None and (recipe is not None or lr is not None or net is not None or without):
        raise ConfigError("space", "given without recipe, without, lr and net", "both", "It holds them all.")
    if loss is not None and not callable(loss):
        raise ConfigError("loss", "a function from (output, target) to the loss of each sample", loss)
    rates = None if lr is None else rate(lr)
    dimensions = {name: dimension(name, value) for name, value in (net or {}).items()}
    make = None if model is None else factory_of(model)
    given = problem_of(data, target, task, own=make is not None)
    problem, interrupts = given.problem, Interrupts()
    say = Lines(progress, options.budget, interrupts.check)

    def space_for(prepared: Prepared) -> Space:
        if make is None:
            found = space or default_space(
                problem, prepared, wanted, options.without, [as_text(name, d) for name, d in dimensions.items()]
            )
            if rates is None:
                return found
            return Space(
                found.ingredients,
                lr=rates,
                net=found.net,
                lr_default=clipped(found.lr_default, rates),
                net_default=found.net_default,
            )
        parts = own_ingredients(problem, wanted, options.without)
        found = space or Space(
            parts, lr=rates or Span(*LR, log=True), net=dimensions, lr_default=clipped(LR_DEFAULT, rates or Span(*LR))
        )
        plain, own = dict(found.plain().net), staged(make, prepared)
        demand_fit(lambda: own(plain), prepared, len(problem.classes), loss)
        if space is None and wanted is None:
            kept, reasons = admitted(parts, lambda: own(plain), prepared, len(problem.classes))
            for reason in reasons:
                say.note(reason)
            found = Space(kept, lr=found.lr, net=found.net, lr_default=found.lr_default)
        return found

    # Networks are built all along the way, by the global random state.
    with folder_for(out) as folder, interrupts, torch.random.fork_rng(devices=[]):
        search = Search(
            problem,
            options,
            folder,
            note=say.note,
            say=say.say,
            make=make,
            loss=loss,
            space=space_for,
            usual_batches=space is None,
        )
        result = finished(search, given, say, interrupts)
        if out is not None:
            result.write(folder)
    return result


def finished(search: Search, given: Inputs, say: Lines, interrupts: Interrupts) -> TuneResult:
    """Race and finish; Ctrl-C ends the race, and the best so far is made ready."""
    store = search.open()
    try:
        course = search.course(store)
        try:
            search.work(store, course)
        except KeyboardInterrupt:
            if not any(t.state.name in ("COMPLETE", "PRUNED") for t in store.trials()):
                raise  # there is no best so far
            interrupts.handled()
            say.note("interrupted: the best so far is made ready; interrupt again to end at once.")
            search.hurried = True
            search.options = replace(search.options, explain=False, budget=None)
        return replace(search.finish(store, course), labels=given.labels)
    finally:
        store.close()


@contextlib.contextmanager
def folder_for(out: str | Path | None) -> Any:
    """The folder that was named, or one that is gone afterwards. A search that is refused leaves nothing behind."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="dashpot-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = open_folder(out)
    try:
        yield folder
    except DashpotError:
        if not (folder / artifacts.FOLDER).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def own_ingredients(
    problem: Problem, wanted: Sequence[str | Technique] | None, without: Sequence[str]
) -> list[Ingredient]:
    """The ingredients for a network of the caller's own."""
    flat = problem.kind == "table"
    parts = ingredients(
        wanted if wanted is not None else default_ingredients("table" if flat else "tensor", problem.task)
    )
    known = {part.name for part in parts}
    for name in without:
        if name not in known:
            raise UnknownNameError("without", name, sorted(known))
    return [part for part in parts if part.name not in without]


class Lines:
    """What a person sees while a search runs: a line every ten seconds, on standard error.

    Args:
        enabled: False is silent.
        budget: seconds, to count down.
        tick: called after each epoch.
    """

    EVERY = 10.0

    def __init__(self, enabled: bool, budget: float | None, tick: Callable[[], None]) -> None:
        self._enabled, self._budget, self._tick = enabled, budget, tick
        self._started = self._shown = time.monotonic()

    def note(self, text: str) -> None:
        """Say something once."""
        if self._enabled:
            print(text, file=sys.stderr, flush=True)

    def say(self, stage: str, runners: Sequence[Trial], epoch: int) -> None:
        """After each epoch."""
        self._tick()
        now = time.monotonic()
        scored = [r for r in runners if math.isfinite(r.score)]
        if not scored or now - self._shown < self.EVERY:
            return
        self._shown, best = now, min(scored, key=lambda r: r.score)
        spent = now - self._started
        left = f"{max(self._budget - spent, 0):.0f} s left" if self._budget else f"{spent:.0f} s"
        self.note(f"{len(runners)} candidates, epoch {epoch}; best {best.score:.4f}: {best.candidate.recipe}; {left}")
