"""The training loop. There is one, it is this, and it can be read from top to bottom."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.errors import ConfigError, ConflictError, DivergedError
from dashpot.core.recipe import Recipe
from dashpot.core.requires import MODALITIES
from dashpot.core.rng import derive, seed_global, stream
from dashpot.core.session import Session
from dashpot.core.space import Range, check_number, check_whole
from dashpot.core.technique import Technique
from dashpot.core.tensors import put, tensors
from dashpot.evaluation.losses import Criterion, default_criterion, is_classification, metrics_of
from dashpot.techniques.penalties.strengths import resolve_strengths
from dashpot.training.batches import Batches
from dashpot.training.checkpoint import Checkpoint, History
from dashpot.training.progress import Progress
from dashpot.training.setup import adamw_for, outputs_of, pick_device, schedule_of


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
) -> FitResult:
    """Train a model with a recipe.

    Args:
        model: any module; it is moved to ``device`` and trained in place.
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, a Dataset, or a DataLoader. Tensors are fastest:
            they live on the device and are indexed there.
        valid: the same for validation; nothing is learned from it but when to stop.
        recipe: the techniques, in any form that :meth:`Recipe.coerce` reads. Relative strengths are first made
            absolute, by these data and the model's initial weights.
        loss: from (output, target) to the loss of each sample; by default cross entropy for integer targets and squared
            error for floating-point ones.
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
    for technique in recipe:
        if held_out is None and str(getattr(technique, "monitor", "")).startswith("val_"):
            raise ConflictError(
                f"{technique} watches a validation score, but there are no validation data. Pass valid=, or"
                " monitor='train_loss'."
            )
    with torch.random.fork_rng(devices=[]):  # a loader that is looked into draws from the caller's random state
        # Strengths that are relative to the data are found on what the model will see.
        seen = train.whole() if modality == "image" and any(getattr(t, "relative", None) for t in recipe) else data
        recipe = resolve_strengths(recipe, model, seen, loss)
        x, y, _ = train.first()
    criterion = loss or default_criterion(y)
    optimizer = adamw_for(model, optimizer, lr)
    factor = schedule_of(schedule)
    closure_needed = any(t.evaluations > 1 for t in recipe)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "data": train.fingerprint() if checkpoint else "",
        "optimizer": type(optimizer).__name__,
    }
    saved = Checkpoint(checkpoint, settings)
    history: History = []
    stopped, diverged, started = "", None, time.perf_counter()

    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        session = recipe.attach(
            model,
            optimizer,
            seed=seed,
            classes=outputs_of(model, x) if is_classification(y) else None,
            targets="classes" if is_classification(y) else "values",
            batch_size=train.smallest,
            closure=closure_needed,
            steps=epochs * len(train),
            steps_per_epoch=len(train),
            modality=modality,
        )
        with session, Progress(progress, epochs) as shown:
            if resume and saved.exists:
                history, stopped = saved.load(model, optimizer, session)
                shown.note(
                    f"resumed after epoch {len(history)} of {epochs}"
                    if not stopped
                    else f"nothing left to do: {stopped}"
                )
            elif resume:
                shown.note("nothing was saved yet: starting from the beginning")
            watched = [row.get("val_loss", row["train_loss"]) for row in history]
            best, kept = (
                min((score for score in watched if not math.isnan(score)), default=math.inf),
                saved.kept or session.snapshot(),
            )

            while len(history) < epochs and not stopped:
                epoch = len(history) + 1
                epoch_started = time.perf_counter()
                total, first_bad = train_epoch(
                    session, model, optimizer, train, criterion, factor, epoch, epochs, place
                )
                if not math.isfinite(total):
                    where = f"step {first_bad} of {len(train)}" if first_bad else "some step"
                    diverged = (
                        f"loss must stay finite, got {float(total)} in epoch {epoch} at {where}. Lower the learning"
                        f" rate (now {lr:g}), or clip gradients."
                    )
                    stopped = "the loss diverged"
                    break

                row = {"epoch": epoch, "objective": float(total) / len(train)}
                with session.evaluate(), torch.no_grad():
                    # As many training rows as validation rows, in the same mode, so that the gap compares like with
                    # like.
                    limit = len(held_out.tensors[0]) if held_out is not None and held_out.tensors is not None else None
                    row |= _measure("train", model, train, criterion, limit)
                    if held_out is not None:
                        row |= _measure("val", model, held_out, criterion, None)
                row |= {"lr": optimizer.param_groups[0]["lr"], "seconds": time.perf_counter() - epoch_started}
                if epoch == epochs and not math.isfinite(row["train_loss"]):  # no further step will tell
                    diverged = (
                        f"loss must stay finite, got {row['train_loss']} after epoch {epoch}. Lower the learning rate"
                        f" (now {lr:g}), or clip gradients."
                    )
                    stopped = "the loss diverged"
                    break
                history.append(row)
                verdict = session.epoch(row)
                stopped = verdict.reason if verdict.stop else "all epochs done" if epoch == epochs else ""
                score = row.get("val_loss", row["train_loss"])
                if score < best:
                    best, kept = score, session.snapshot()
                saved.save(model, optimizer, session, history, stopped, kept)
                shown.epoch(row)

        best_epoch = next((ctx.state.get("best_epoch") for t, ctx in session.actors if t.defines("final")), None)
        if diverged:
            if not any(t.final(ctx) for t, ctx in session.actors if t.defines("final")):
                put(tensors(session.view.model), kept)  # by the plain module's names, whatever wraps it
            warnings.warn(diverged, DivergenceWarning, stacklevel=2)
    model.eval()
    return FitResult(model, history, stopped, session.plan(), best_epoch, diverged, time.perf_counter() - started)


def train_epoch(
    session: Session,
    model: nn.Module,
    optimizer: Optimizer,
    train: Batches,
    criterion: Criterion,
    factor: Callable[[float], float],
    epoch: int,
    epochs: int,
    place: torch.device,
) -> tuple[Tensor, int | None]:
    """One epoch of steps; ``factor`` is the schedule, and the first epoch is 1.

    Returns:
        The sum of the batches' objectives, and the step at which it stopped being finite, where that was seen.
    """
    closure_needed = any(t.evaluations > 1 for t in session.recipe)
    seed_global(derive(stream(session.seed, "model"), epoch) >> 1, place)
    model.train()
    total = torch.zeros((), device=place)
    for number, (x, y, weight) in enumerate(train.epoch(epoch)):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor((epoch - 1 + number / len(train)) / epochs)
        batch = session.batch(x, y, weight)

        def closure() -> Tensor:
            optimizer.zero_grad()
            out = model(batch.x)  # noqa: B023  (called before the next batch)
            objective = session.loss(criterion(out, batch.y), out)  # noqa: B023
            objective.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            return objective.detach()

        objective: Any
        if closure_needed:
            objective = optimizer.step(closure)  # type: ignore[arg-type]  # torch types closures as returning float
        else:
            objective = closure()
            if place.type != "cpu" or math.isfinite(objective):
                optimizer.step()
        total += objective
        # On a GPU, asking after every step would wait for it; there the epoch's sum tells.
        if place.type == "cpu" and not math.isfinite(objective):
            return total, number + 1
    return total, None


def _measure(
    name: str, model: nn.Module, batches: Batches, criterion: Criterion, limit: int | None
) -> dict[str, float]:
    pairs = [(model(x), y) for x, y, _ in batches.in_order(limit)]
    measured = metrics_of(torch.cat([out for out, _ in pairs]), torch.cat([y for _, y in pairs]), criterion)
    return {f"{name}_{key}": value for key, value in measured.items()}
