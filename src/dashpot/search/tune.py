"""``dashpot.tune``: the search from Python, with data and networks of your own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dashpot.core.durations import seconds
from dashpot.core.errors import ConfigError, DashpotError
from dashpot.core.technique import Technique
from dashpot.data import Prepared
from dashpot.evaluation.losses import Criterion
from dashpot.runs.saved import open_folder
from dashpot.search.arguments import as_text, distribution, wanted_of
from dashpot.search.config import SearchConfig
from dashpot.search.inputs import Inputs, factory_of, problem_of
from dashpot.search.interrupts import Interrupts
from dashpot.search.outcome import tracked
from dashpot.search.outcome.result import TuneResult
from dashpot.search.own import own_space
from dashpot.search.progress import ProgressLines
from dashpot.search.racing import checkpoints
from dashpot.search.run import Search
from dashpot.search.space.space import Space
from dashpot.tracking.tracking import Tracking

BUDGET = 300.0
"""Seconds where neither a budget nor a number of candidates is given."""
Wanted = str | Technique | Iterable[str | Technique]


def tune(
    data: Any,
    *,
    target: str | None = None,
    task: str | None = None,
    sample_weight: Any = None,
    recipe: Wanted | None = None,
    budget: str | float | None = None,
    trials: int | None = None,
    metric: str | None = None,
    cv: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    model: Callable[..., nn.Module] | None = None,
    net: Mapping[str, Any] | None = None,
    loss: Criterion | None = None,
    space: Space | None = None,
    config: SearchConfig | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    numeric: Iterable[str] | None = None,
    dates: Iterable[str] | None = None,
    categorical: Iterable[str] | None = None,
    kind: str | None = None,
    tokenizer: Any = None,
    vectors: str | Path | None = None,
    encoder: Any = None,
    monotone: Any = None,
    log: Any = None,
) -> TuneResult:
    """Search the combination of regularizers and their strengths, on all folds of a cross-validation at once, and say
    the contribution of each.

    Candidates are trained together, or one by one where they cannot be, with a note. They are ranked by a proper score
    (log-loss or RMSE) on rows that they have not seen; the decision is then fitted to ``metric``. Ctrl-C gives the best
    so far.

    Args:
        data: ``(X, y)``; a path as for ``dashpot tune``; or a :class:`dashpot.data.Problem`. Without ``model``, X is a
            table (array, sparse matrix, data frame), texts (a list, array [n] or series of strings, or a data frame
            of sentences) or images [n, h, w], [n, h, w, c] or [n, c, h, w], which are prepared for the built-in
            network. With ``model``, X may be a tensor or an array of any shape (images,
            sequences, numbers of tokens): it is used as it is, and so is a ``y`` of values. Texts, data
            frames and paths are prepared either way; of images of a path the network gets standardized channels.
        target: the target column, for a path to a table.
        task: ``"classification"`` or ``"regression"``. By default guessed; where X is used as it is, integers and text
            are classes and floats values.
        sample_weight: how much each row of ``(X, y)`` counts [n], or for a path the column that says so: a row of
            weight 0 is absent, one of weight 2 counts as two rows, in training and in every score within a fold. Folds
            count alike.
        recipe: techniques, as text (``"l1:strength=1e-6..1e-2"``, ``"mixup"``, ``"dropout:p=0.2"``) or techniques,
            whose ranges are searched. By default all that fit the data and the network.
        budget: seconds for everything, or text such as ``"90s"``, ``"10m"``, ``"2h"``. With neither budget nor trials,
            five minutes.
        trials: candidates, at least 2. With trials alone the same call gives the same result on one machine; a budget
            depends on how fast it is.
        metric: the score to optimize: accuracy (default), balanced_accuracy, f1, f1_macro, log_loss, brier, roc_auc; r2
            (default), rmse, mae.
        cv: folds, at least 2; by default 5, also where a class has fewer rows: it is then judged in as many folds as it
            has rows, with a note.
        epochs: of a candidate that is never pruned; by default about 3,000 steps.
        seed: of the split, the folds and the training; by default 0.
        device: by default a GPU if there is one.
        model: returns a fresh network: logits [n, classes], or as many values as ``y`` has. Called with the options in
            ``net`` as keywords.
        net: what of the network is searched: from names to values such as ``{"width": (64, 128)}``; a single value is
            fixed. For the built-in networks their own options.
        loss: of training, from (output, target) to the loss of each sample; by default cross entropy or squared error.
            For values, candidates are ranked by it too; for classes by log-loss all the same.
        space: a ready space, in place of ``recipe`` and ``net``, and of ``without`` and ``lr`` in ``config``.
        config: everything else: learning rates, batch sizes, pruning, sampler, ensemble, storage; see
            :class:`dashpot.SearchConfig`. An option that is set in both must be the same.
        out: a new or empty folder for all files; by default none are kept.
        progress: lines on standard error.
        numeric, dates, categorical: columns of numbers, of dates and of names in a table; by default what
            :func:`dashpot.data.tables.reading.decide` finds. For more (such as encodings) give ``load_problem(...)``.
        kind: ``"text"``: the columns of a table are texts, or stand beside them; of a path also ``"table"``,
            ``"image"`` or ``"signal"``. By default found.
        tokenizer: of texts, ``"words"`` (the default), ``"characters"``, a function or a file
            (:func:`dashpot.texts.cutting.tokenizer_of`).
        vectors: of texts, a file of vectors of words from which convolutional networks start; see
            :func:`dashpot.texts.vectors.vectors_of`. What is saved needs nothing of it. By default they are learned
            from the training texts; ``"random"``: networks start without.
        encoder: of texts, a folder of a model of ``transformers``, over whose vectors a small network is searched
            beside the others, or that is trained further; see :func:`dashpot.texts.encoder.encoder_of`. What is saved
            needs it again.
        monotone: of a table, from numeric columns to 1 (the prediction never falls as the column rises) or -1 (it never
            rises), as ``monotonic_cst`` of scikit-learn; of two classes the probability of the second one in order. All
            candidates are then :class:`dashpot.nets.MonotoneNet`, which are so by construction, and so is their mean.
        log: trackers that are told candidates, the winner and contributions at the end; see
            :func:`dashpot.tracking.trackers_of`.

    Returns:
        The result: ``predict``, ``predict_proba``, ``save``, ``summary``.

    Raises:
        ConfigError: an argument that its rule forbids, or a budget that is too small, which says what would do.
        DataError, StorageError: data that cannot be used, or a store that cannot be reached.

    Examples:
        >>> import dashpot, numpy, torch
        >>> X = numpy.random.default_rng(0).normal(size=(150, 4)); y = numpy.where(X[:, 0] > 0, "yes", "no")
        >>> quick = dashpot.SearchConfig(trials=4, epochs=3, cv=2, explain=False)
        >>> result = dashpot.tune((X, y), config=quick, progress=False)
        >>> result.predict(X[:3]).shape, result.predict_proba(X[:3]).shape
        ((3,), (3, 2))

        A network of your own, on tensors as they are:

        >>> def make(width):
        ...     layers = torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
        ...     return torch.nn.Sequential(torch.nn.Flatten(), *layers)
        >>> X = torch.randn(100, 1, 4, 4); y = (X[:, 0, 0, 0] > 0).long()
        >>> techniques, widths = ["mixup", "weight-decay"], {"width": (8, 16)}
        >>> result = dashpot.tune((X, y), model=make, net=widths, recipe=techniques, config=quick, progress=False)
        >>> result.predict(X[:3]).dtype
        dtype('int64')
    """
    tracking = Tracking.of(log)[0]
    config = (config or SearchConfig()).merged(
        recipe=None if recipe is None else wanted_of(recipe),
        budget=None if budget is None else seconds(budget),
        trials=trials,
        metric=metric,
        cv=cv,
        epochs=epochs,
        seed=seed,
        device=device,
    )
    if config.budget is None and config.trials is None:
        config = replace(config, budget=BUDGET)
    config.check()
    _check_together(config, space, net, loss, model)
    distributions = {name: distribution(name, value) for name, value in (net or {}).items()}
    make = None if model is None else factory_of(model)
    if make is None and distributions:
        texts = [*config.networks, *(as_text(name, d) for name, d in distributions.items())]
        config = replace(config, networks=texts)
    columns = numeric, dates, categorical
    if monotone is not None and make is not None:
        raise ConfigError("monotone", "None with a model of your own", monotone, "dashpot.nets.MonotoneNet may be one.")
    said = kind, tokenizer, vectors, encoder, monotone
    inputs = problem_of(data, target, task, make is not None, sample_weight, columns, *said)
    problem, interrupts = inputs.problem, Interrupts()
    say = ProgressLines(progress, config.budget, interrupts.check)

    def space_for(prepared: Prepared) -> Space:
        if make is None and space is not None:
            return space
        assert make is not None, "without either, the default space is made"
        return own_space(problem, prepared, make, config, distributions, loss=loss, space=space, note=say.note)

    # Networks are built all along the way, by the global random state.
    with folder_for(out) as folder, interrupts, torch.random.fork_rng(devices=[]):
        search = Search(
            problem,
            config,
            folder,
            note=say.note,
            say=say.say,
            make=make,
            loss=loss,
            space=None if make is None and space is None else space_for,
            usual_batches=space is None,
        )
        with tracking.guarded():
            tracked.begin(tracking, problem, config, folder if out is not None else Path("tune"))
            result = finished(search, inputs, say, interrupts)
            if out is not None:
                result.write(folder)
            kept = folder if out is not None else None
            tracked.end(tracking, result.report, result.recipe, kept, hurried=search.hurried)
    return result


def _check_together(config: SearchConfig, space: object, net: object, loss: object, model: object) -> None:
    """Refuse arguments that say the same thing twice, and a loss that is none."""
    if space is not None and (config.recipe is not None or config.lr is not None or net is not None or config.without):
        raise ConfigError("space", "given without recipe, without, lr and net", "both", "It holds them all.")
    if loss is not None and not callable(loss):
        raise ConfigError("loss", "a function from (output, target) to the loss of each sample", loss)
    if model is not None and config.networks:
        raise ConfigError("networks", "empty with a model", config.networks, "Its options are named in net.")


def finished(search: Search, inputs: Inputs, say: ProgressLines, interrupts: Interrupts) -> TuneResult:
    """Race and finish; Ctrl-C ends the race, and the best so far is made ready."""
    store = search.open()
    try:
        training = search.training_budget(store)
        try:
            search.work(store, training)
        except KeyboardInterrupt:
            if not any(t.state.name in ("COMPLETE", "PRUNED") for t in store.trials()):
                raise  # there is no best so far
            interrupts.handled()
            say.note("interrupted: the best so far is made ready; interrupt again to end at once.")
            search.hurried = True
            search.config = replace(search.config, explain=False, budget=None)
        return replace(search.finish(store, training), labels=inputs.labels)
    finally:
        store.close()


@contextlib.contextmanager
def folder_for(out: str | Path | None) -> Any:
    """The folder that was named, or a temporary one. A search that is refused writes nothing."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="dashpot-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    folder = open_folder(out)
    try:
        yield folder
    except DashpotError:
        if not (folder / checkpoints.FOLDER).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
