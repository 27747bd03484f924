"""The training loop; there is only this one."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import DivergedError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.requires import check_modality
from dashpot.core.running.nested import rows as rows_of
from dashpot.core.technique import Technique
from dashpot.core.threads import scoped
from dashpot.evaluation.losses import Criterion
from dashpot.shrinking.shrink import Shrunk
from dashpot.techniques.averaging.snapshots import Snapshots, snapshots
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.tracking.tracking import Tracking
from dashpot.training.batches import Batches
from dashpot.training.checkpoint import Checkpoint, History
from dashpot.training.clock import clock_of, demand_length
from dashpot.training.compressing import Cuts, smaller
from dashpot.training.monitors import check_monitors
from dashpot.training.plateau import Plateau
from dashpot.training.prepare import prepared
from dashpot.training.progress import Progress
from dashpot.training.ranks import Ranks, device_of, innermost
from dashpot.training.resuming import loss_in_words, options_of
from dashpot.training.setup import adamw_for, pick_device, schedule_of
from dashpot.training.shown import Shown
from dashpot.training.task import averaged_as
from dashpot.training.tracked import Tracked
from dashpot.training.training import Training
from dashpot.training.versions import TTA, demand_images
from dashpot.training.work import step_threads


class DivergenceWarning(UserWarning):
    """The loss became NaN or infinite; training stopped and earlier weights were kept."""


@dataclass(frozen=True)
class FitResult(Shown):
    """The result of :func:`dashpot.fit`.

    Attributes:
        model: the model that was passed in, in evaluation mode, with its final weights (the best or the averaged ones
            where the recipe keeps them). With :class:`~dashpot.Compress` it became small in place, on the way or at
            the end; where what leaves gives constants, the small network is a copy.
        history: one row per epoch: ``epoch``, ``objective`` (the loss as trained), ``train_*`` and ``val_*``
            (evaluation mode, untouched truth), ``lr``, ``seconds``.
        stopped: why training ended.
        best_epoch: the epoch whose weights are in the model where early stopping chose one, else ``None``.
        plan: which technique acted where.
        diverged: where the loss became NaN or infinite, or ``None``.
        seconds: what it took.
        tta: how answers are averaged over versions of each image, or ``None``.
        targets: what it averages: probabilities of ``"classes"`` or ``"multilabel"``, or ``"values"``.
        modality: of the inputs, as it was said.
        snapshots: what :class:`~dashpot.averaging.Snapshots` has kept, the oldest first, for ``ensemble_predict``.
        shrunk: with :class:`~dashpot.Compress` how the small network came about, its sizes and its plan; else ``None``.
        large: then a network of the size that the model had at first, which does the same, with zeros where units
            left; else ``None``.
        predictor: what to predict with: ``model``, with its test-time augmentation where there is one.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(64, 5)
        >>> result = dashpot.fit(torch.nn.Linear(5, 1), (x, x[:, :1]), epochs=2, progress=False)
        >>> [row["epoch"] for row in result.history], result.diverged, result.raise_if_diverged() is result
        ([1, 2], None, True)
    """

    model: nn.Module
    history: History
    stopped: str
    plan: str
    best_epoch: int | None = None
    diverged: str | None = None
    seconds: float = field(default=0.0)
    tta: TTA | None = None
    targets: str | None = field(default=None, repr=False)
    modality: str | None = field(default=None, repr=False)
    snapshots: tuple[dict[str, Tensor], ...] = field(default=(), repr=False)
    shrunk: Shrunk | None = field(default=None, repr=False)
    large: nn.Module | None = field(default=None, repr=False)

    @property
    def predictor(self) -> nn.Module:
        unit = self.modality == "image"
        return self.model if self.tta is None else self.tta.network(self.model, self.targets, unit=unit).eval()

    def raise_if_diverged(self) -> FitResult:
        """Return itself; raise DivergedError where the loss diverged."""
        if self.diverged:
            raise DivergedError(self.diverged)
        return self


def fit(
    model: nn.Module,
    data: Any,
    *,
    valid: Any = None,
    recipe: Recipe | Technique | str | Sequence[Any] | None = None,
    loss: Criterion | None = None,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    schedule: str | Callable[[float], float] | Plateau = "cosine",
    epochs: int | None = None,
    budget: str | float | None = None,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    modality: str | None = None,
    targets: str | None = None,
    tta: TTA | Recipe | Technique | str | Sequence[Any] | None = None,
    lr_decay: float = 1.0,
    log: Any = None,
) -> FitResult:
    """Train a model with a recipe.

    Args:
        model: any module; it is moved to ``device`` and trained in place. Parts that are in evaluation mode while the
            model is in training mode, such as a batch normalization with frozen statistics, stay so; of a model that is
            in evaluation mode as a whole, all parts are trained. One in DistributedDataParallel is trained where it is,
            by each rank on its part of every batch of tensors; the result is the module inside.
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, a Dataset, or a DataLoader. Tensors are fastest:
            they live on the device and are indexed there. Inputs may stand in dicts, which the model gets by name, and
            tuples, which it gets by place. A row of weight 0 is absent: it is in no batch and no score; one of weight 2
            counts as two rows in loss and scores (batches still hold single rows). A loader may give whole batches
            (:class:`~dashpot.Batch`), with masks.
        valid: the same for validation; it is used for scores and early stopping only.
        recipe: the techniques, in any form that :meth:`Recipe.coerce` reads. Relative strengths are first made
            absolute, by these data and the model's initial weights.
        loss: from (output, target) to the loss of each sample, or a loss module or function that reduces; by default
            cross entropy for classes, squared error for values and binary cross entropy for labels.
        optimizer: one made for this model, or a function from parameters to one; by default AdamW without decay at
            ``lr``.
        schedule: ``"cosine"`` to zero over all epochs, ``"one-cycle"`` (from zero up to ``lr`` in a quarter of the
            run, and down to zero), ``"constant"``, or a function from progress in [0, 1] to a factor of the learning
            rate. With a budget, progress is the share of the epochs or of the time, whichever is larger. By the scores
            so far: :func:`dashpot.schedules.reduce_on_plateau`.
        epochs: at least 1; by default 50, with a budget as many as there is time for.
        budget: the time that training may take, in seconds or as text such as ``"90s"``, ``"10m"`` or ``"2h"``, all
            lives of a resumed run together. It ends within a step, and an evaluation, of it, with the learning rate
            where the schedule ends. How many steps there are then depends on the machine, so that another run with the
            same seed is not the same bit for bit. Without ``valid``, training scores are of at most 1,024 rows.
            Schedules of techniques follow ``epochs``.
        batch_size: at least 1.
        lr: of the default optimizer, > 0.
        seed: of the order of rows (of a loader's own generator too), of the model's own dropout and of the recipe. The
            caller's global random state is untouched.
        device: ``"auto"`` takes a GPU if there is one.
        checkpoint: a folder to save to, one file replaced as a whole: at the end, and after an epoch where the last is
            older than a minute, or than 20 times what writing took. Ctrl-C loses its epoch (of a network of more than
            64 MB, as a kill, what came after the last one).
        resume: go on from the checkpoint; without a budget the result is bit for bit that of an uninterrupted run on
            the same machine.
            If there is none yet, start and say so. What must agree with the saved run (model, optimizer with its
            options, learning rate and schedule, loss, recipe, data, seed, epochs) is compared first, and refused where
            it differs: nothing has been changed then.
        progress: a bar in a terminal, lines of text elsewhere (on standard error).
        modality: what the inputs are: ``"table"``, ``"image"``, ``"signal"`` or ``"text"``; None does not say. Images
            [n, channels, height, width] that are held as bytes (uint8) then reach techniques and model as float32 in
            [0, 1]; standardize them at the front of the model, as :class:`dashpot.nets.Standardize` does.
        targets: ``"classes"``, ``"values"`` or ``"multilabel"`` (yes/no labels). By default floating-point targets are
            values; whole numbers are classes, and labels where the model has one output for each of them.
        tta: test-time augmentation, for images: ``"flip"`` (the exact mean of both mirror images), techniques, or a
            :class:`dashpot.TTA`. All scores, those that early stopping watches too, are of the averaged answers, and
            each takes as many predictions as there are versions; the training itself is the same. Predict with
            ``result.predictor``.
        lr_decay: of the default optimizer, for a network that was trained before: each stage has this much of the
            learning rate of the one behind it, as :func:`dashpot.finetune_groups` makes them; in (0, 1].
        log: trackers that are told each epoch: ``"tensorboard"``, ``"mlflow"``, ``"wandb"``, ``"trackio"``, with a
            place as in ``"tensorboard:runs"``, a :class:`dashpot.tracking.Tracker`, or several; see
            :func:`dashpot.tracking.trackers_of`. One that fails is left out with a warning, and training goes on. With
            ``checkpoint`` a resumed run goes on in the same runs of its trackers.

    Returns:
        The result; ``result.model`` is ``model``, but where :class:`~dashpot.Compress` had to make a copy.

    Raises:
        ConfigError, ConflictError, DataError: before any work.
        StorageError: a checkpoint could not be written; the one before is intact.

    Warns:
        DivergenceWarning: the loss became NaN or infinite. Training stops, and the best weights so far are kept.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(64, 5); y = (x[:, 0] > 0).long()
        >>> model = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> result = dashpot.fit(model, (x, y), recipe=dashpot.Dropout(p=0.1) | dashpot.L1(), epochs=3, progress=False)
        >>> len(result.history)
        3
    """
    tracking, ends = Tracking.of(log)
    batch_size, seed = check_whole("batch_size", batch_size), check_whole("seed", seed, low=0)
    clock = clock_of(epochs, budget)
    epochs = clock.epochs
    lr = check_number("lr", lr, Range(0.0, math.inf, open="low"))
    check_modality(modality)
    whole, model, ranks = model, innermost(model), Ranks.of(model)
    place = pick_device(device) if whole is model else device_of(model, device)
    model.to(place)
    recipe, averaging = Recipe.coerce(recipe), TTA.of(tta)
    demand_length(recipe, clock)
    dtype = torch.float64 if next(model.parameters(), torch.empty(0)).dtype == torch.float64 else torch.float32
    train = Batches("data", data, batch_size, seed, place, modality, dtype)
    train.ranks = ranks
    held_out = Batches("valid", valid, batch_size, seed, place, modality, dtype) if valid is not None else None
    check_monitors(recipe, held_out, schedule)
    parts = {"data[1]": train} if held_out is None else {"data[1]": train, "valid[1]": held_out}
    # What is looked into draws from the caller's random state: a loader, and a model that is never in evaluation mode.
    with torch.random.fork_rng(devices=[]):
        task, first = prepared(model, parts, recipe, loss, targets)
        if averaging is not None:
            demand_images(averaging, model, first.x, modality)
        # Strengths that are relative to the data are found on what the model will see.
        if any(getattr(t, "relative", None) is not None for t in recipe):
            told = task.criterion if task.targets == "multilabel" else loss
            recipe = resolve_strengths(recipe, model, train.whole(), told)
    check_monitors(recipe, held_out, schedule, task.targets, first.y)
    ranks.demand_possible(data, train.smallest, budget, recipe, loss, task.ignores(train.targets))
    optimizer = adamw_for(model, optimizer, lr, lr_decay)
    factor = schedule if isinstance(schedule, Plateau) else schedule_of(schedule)
    asked = bool(checkpoint or tracking or ranks.count > 1)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "data": train.fingerprint() if asked else "",
        "optimizer": type(optimizer).__name__,
        "valid": held_out.fingerprint() if asked and held_out is not None else "",
        "loss": loss_in_words(task.criterion),
        # A function is known by its rates so far.
        **({"schedule": str(schedule)} if isinstance(schedule, str | Plateau) else {}),
        **options_of(optimizer),
        "tta": "none" if averaging is None else str(averaging),
    }
    saved, started = Checkpoint(checkpoint, settings, writes=ranks.first), time.perf_counter()
    ranks.demand_same({**settings, "a checkpoint to resume": resume and saved.exists})
    rows = (batch_size if train.rows is not None else rows_of(first.x)) or 1
    threads = step_threads(model, first.x, rows, place)
    with scoped(threads), torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        session = recipe.attach(
            whole,
            optimizer,
            seed=seed,
            classes=task.classes,
            targets=task.targets,
            batch_size=train.smallest,
            closure=any(t.evaluations > 1 for t in recipe),
            steps=None if epochs is None else epochs * len(train),
            steps_per_epoch=len(train),
            modality=modality,
            ignore_index=task.ignore_index if task.ignores(train.targets) else None,
        )
        progress = progress and ranks.first
        with session, saved, Progress(progress, clock) as shown, Tracked(tracking, session, settings, ends) as tracked:
            training = Training(session, model, optimizer, train, held_out, task, factor, clock, place, averaging)
            training.cuts = cuts = Cuts(session, first.x)
            if resume:
                shown.note(training.resume(saved))
            training.best_weights(saved.kept)
            tracked.begin(checkpoint, resume)
            while not training.stopped and training.epoch():
                tracked.epoch(training.history[-1], training.verdict)
                saved.save(model, optimizer, session, training.history, training.stopped, training.kept, cuts)
                shown.epoch(training.history[-1])
            training.end()
            tracked.done(training.stopped, training.best_epoch, training.diverged)
            plan = session.plan()
            if not training.diverged:
                cuts.end(len(training.history))
    if training.diverged:
        warnings.warn(training.diverged, DivergenceWarning, stacklevel=2)
    model.eval()
    final, shrunk, large = cuts.compressed(model, last=not training.diverged)
    if shrunk is not None and progress:
        print(smaller(shrunk), file=sys.stderr)
    ended = training.stopped, plan, training.best_epoch, training.diverged, time.perf_counter() - started
    kept = snapshots(session) if any(isinstance(t, Snapshots) for t in recipe) else ()
    of_inputs = averaged_as(task), modality
    return FitResult(final, training.history, *ended, averaging, *of_inputs, kept, shrunk, large)
