"""The training loop. There is one, it is this, and it can be read from top to bottom."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError, DivergedError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.requires import MODALITIES
from dashpot.core.running.batch import float_input
from dashpot.core.running.session import Session
from dashpot.core.running.tensors import put, tensors
from dashpot.core.technique import Technique
from dashpot.evaluation.losses import Criterion
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.training.batches import Batches
from dashpot.training.checkpoint import Checkpoint, History
from dashpot.training.epoch import measure, train_epoch
from dashpot.training.progress import Progress
from dashpot.training.setup import adamw_for, pick_device, schedule_of
from dashpot.training.task import Task, check_targets, task_of


class DivergenceWarning(UserWarning):
    """The loss became NaN or infinite; training stopped and earlier weights were kept."""


@dataclass(frozen=True)
class FitResult:
    """What training gave.

    Attributes:
        model: the model that was passed in, in evaluation mode, with its final weights (the best or the averaged ones
            where the recipe keeps them).
        history: one row per epoch: ``epoch``, ``objective`` (the loss as trained), ``train_*`` and ``val_*``
            (evaluation mode, untouched truth), ``lr``, ``seconds``.
        stopped: why training ended.
        best_epoch: the epoch whose weights are in the model where early stopping chose one, else ``None``.
        plan: what acted where.
        diverged: where the loss became NaN or infinite, or ``None``.
        seconds: what it took.

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

    def raise_if_diverged(self) -> FitResult:
        """Itself, or DivergedError."""
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
    schedule: str | Callable[[float], float] = "cosine",
    epochs: int = 50,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    modality: str | None = None,
    targets: str | None = None,
) -> FitResult:
    """Train a model with a recipe.

    Args:
        model: any module; it is moved to ``device`` and trained in place.
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, a Dataset, or a DataLoader. Tensors are fastest:
            they live on the device and are indexed there. Inputs may stand in dicts, which the model gets by name, and
            tuples, which it gets by place. A row of weight 0 is absent from loss and scores, one of weight 2 counts
            twice. A loader may give whole batches (:class:`~dashpot.Batch`), with masks.
        valid: the same for validation; nothing is learned from it but when to stop.
        recipe: the techniques, in any form that :meth:`Recipe.coerce` reads. Relative strengths are first made
            absolute, by these data and the model's initial weights.
        loss: from (output, target) to the loss of each sample, or a loss module or function that reduces; by default
            cross entropy for classes, squared error for values and binary cross entropy for labels.
        optimizer: one made for this model, or a function from parameters to one; by default AdamW without decay at
            ``lr``.
        schedule: ``"cosine"`` to zero over all epochs, ``"constant"``, or a function from progress in [0, 1) to a
            factor of the learning rate.
        epochs, batch_size: at least 1.
        lr: of the default optimizer, > 0.
        seed: of the order of rows (of a loader's own generator too), of the model's own dropout and of the recipe. The
            caller's global random state is untouched.
        device: ``"auto"`` takes a GPU if there is one.
        checkpoint: a folder to save to after each epoch, one file replaced as a whole.
        resume: go on from the checkpoint; the result is bit for bit that of an uninterrupted run on the same machine.
            If there is none yet, start and say so.
        progress: a bar in a terminal, plain lines elsewhere (on standard error).
        modality: what the inputs are: ``"table"``, ``"image"`` or ``"text"``; None does not say. Images
            [n, channels, height, width] that are held as bytes (uint8) then reach techniques and model as float32 in
            [0, 1]; standardize them at the front of the model, as :class:`dashpot.nets.Standardize` does.
        targets: ``"classes"``, ``"values"`` or ``"multilabel"`` (yes/no labels). By default floating-point targets are
            values; whole numbers are classes, and labels where the model has one output for each of them.

    Returns:
        The result; ``result.model`` is ``model``.

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
    epochs, batch_size, seed = (
        check_whole("epochs", epochs),
        check_whole("batch_size", batch_size),
        check_whole("seed", seed, low=0),
    )
    lr = check_number("lr", lr, Range(0.0, math.inf, open="low"))
    if modality not in (None, *MODALITIES):
        raise ConfigError("modality", f"one of {', '.join(MODALITIES)} or None", modality)
    place = pick_device(device)
    model.to(place)
    recipe = Recipe.coerce(recipe)
    train = Batches("data", data, batch_size, seed, place, modality)
    held_out = Batches("valid", valid, batch_size, seed, place, modality) if valid is not None else None
    _check_monitors(recipe, held_out)
    with torch.random.fork_rng(devices=[]):  # a loader that is looked into draws from the caller's random state
        # Strengths that are relative to the data are found on what the model will see.
        seen = train.whole() if modality == "image" and any(getattr(t, "relative", None) for t in recipe) else data
        recipe = resolve_strengths(recipe, model, seen, loss)
        first = train.first()
        for technique in recipe if isinstance(first.x, torch.Tensor) else ():
            if technique.requires.float_input:
                float_input(first.x, type(technique).__name__, ConflictError)
        task = task_of(model, first, loss, targets)
    for name, part in (("data[1]", train), ("valid[1]", held_out)):
        if part is not None and part.targets is not None:
            check_targets(name, part.targets, task)
    optimizer = adamw_for(model, optimizer, lr)
    factor = schedule_of(schedule)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "data": train.fingerprint() if checkpoint else "",
        "optimizer": type(optimizer).__name__,
    }
    saved, started = Checkpoint(checkpoint, settings), time.perf_counter()
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        session = recipe.attach(
            model,
            optimizer,
            seed=seed,
            classes=task.classes,
            targets=task.targets,
            batch_size=train.smallest,
            closure=any(t.evaluations > 1 for t in recipe),
            steps=epochs * len(train),
            steps_per_epoch=len(train),
            modality=modality,
        )
        with session, Progress(progress, epochs) as shown:
            training = _Training(session, model, optimizer, train, held_out, task, factor, epochs, place)
            if resume:
                shown.note(training.resume(saved))
            training.best_weights(saved.kept)
            while len(training.history) < epochs and not training.stopped and training.epoch():
                saved.save(model, optimizer, session, training.history, training.stopped, training.kept)
                shown.epoch(training.history[-1])
            training.end()
            plan = session.plan()
    if training.diverged:
        warnings.warn(training.diverged, DivergenceWarning, stacklevel=2)
    model.eval()
    seconds = time.perf_counter() - started
    return FitResult(model, training.history, training.stopped, plan, training.best_epoch, training.diverged, seconds)


def _check_monitors(recipe: Recipe, held_out: Batches | None) -> None:
    """Refuse to watch a score that nobody takes."""
    for technique in recipe:
        if held_out is None and str(getattr(technique, "monitor", "")).startswith("val_"):
            raise ConflictError(
                f"{technique} watches a validation score, but there are no validation data. Pass valid=, or"
                " monitor='train_loss'."
            )


@dataclass
class _Training:
    """A training from epoch to epoch."""

    session: Session
    model: nn.Module
    optimizer: Optimizer
    train: Batches
    held_out: Batches | None
    task: Task
    factor: Callable[[float], float]
    epochs: int
    place: torch.device
    history: History = field(default_factory=list)
    stopped: str = ""
    diverged: str | None = None
    best: float = math.inf
    kept: Mapping[str, Any] = field(default_factory=dict)

    def resume(self, saved: Checkpoint) -> str:
        """Go on from the checkpoint, if there is one; what to tell about it."""
        if not saved.exists:
            return "nothing was saved yet: starting from the beginning"
        self.history, self.stopped = saved.load(self.model, self.optimizer, self.session)
        if self.stopped:
            return f"nothing left to do: {self.stopped}"
        return f"resumed after epoch {len(self.history)} of {self.epochs}"

    def best_weights(self, kept: Mapping[str, Any]) -> None:
        """The best weights so far, for a loss that diverges."""
        watched = [row.get("val_loss", row["train_loss"]) for row in self.history]
        self.best = min((score for score in watched if not math.isnan(score)), default=math.inf)
        self.kept = kept or self.session.snapshot()

    def epoch(self) -> bool:
        """One epoch; whether the loss stayed finite."""
        number, started = len(self.history) + 1, time.perf_counter()
        total, first_bad = train_epoch(
            *(self.session, self.model, self.optimizer, self.train, self.task.criterion, self.factor),
            *(number, self.epochs, self.place),
        )
        if not math.isfinite(total):
            where = f"step {first_bad} of {len(self.train)}" if first_bad else "some step"
            return self._diverge(f"{float(total)} in epoch {number} at {where}")
        row = {"epoch": number, "objective": float(total) / len(self.train), **self._scores()}
        row |= {"lr": self.optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - started}
        if number == self.epochs and not math.isfinite(row["train_loss"]):  # no further step will tell
            return self._diverge(f"{row['train_loss']} after epoch {number}")
        self.history.append(row)
        verdict = self.session.epoch(row)
        self.stopped = verdict.reason if verdict.stop else "all epochs done" if number == self.epochs else ""
        score = row.get("val_loss", row["train_loss"])
        if score < self.best:
            self.best, self.kept = score, self.session.snapshot()
        return True

    def end(self) -> None:
        """The final weights; where the loss diverged, the best so far, if no technique keeps any."""
        self.session.finish()
        if self.diverged and not any(t.final(ctx) for t, ctx in self.session.attached if t.defines("final")):
            put(tensors(self.session.view.model), self.kept)  # by the plain module's names, whatever wraps it

    @property
    def best_epoch(self) -> int | None:
        return next((ctx.state.get("best_epoch") for t, ctx in self.session.attached if t.defines("final")), None)

    def _scores(self) -> dict[str, float]:
        with self.session.evaluate(), torch.no_grad():
            # As many training rows as validation rows, in the same mode, so that the gap compares like with like.
            limit = self.held_out.rows if self.held_out is not None else None
            row = measure("train", self.model, self.train, self.task.criterion, self.task.targets, limit)
            if self.held_out is not None:
                row |= measure("val", self.model, self.held_out, self.task.criterion, self.task.targets)
        return row

    def _diverge(self, what: str) -> bool:
        rate = max(group["initial_lr"] for group in self.optimizer.param_groups)
        self.diverged = f"loss must stay finite, got {what}. Lower the learning rate (now {rate:g}), or clip gradients."
        self.stopped = "the loss diverged"
        return False
