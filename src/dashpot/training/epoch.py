"""One epoch: its steps, and the scores after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dashpot.core.rng import derive, seed_global, stream
from dashpot.core.running.batch import Batch, weights_for
from dashpot.core.running.criteria import Samples, samples_of
from dashpot.core.running.modes import to_training
from dashpot.core.running.nested import called
from dashpot.core.running.session import Session
from dashpot.core.running.targets import class_codes
from dashpot.evaluation.losses import Criterion, metrics_of, targets_of
from dashpot.evaluation.refined import REFINED, refined_loss
from dashpot.training.batches import Batches
from dashpot.training.clock import Clock
from dashpot.training.ranks import Ranks, innermost


@dataclass(frozen=True)
class Steps:
    """The steps of an epoch.

    Attributes:
        total: the sum of the batches' objectives.
        done: how many there were.
        progress: of the last one.
        bad: its objective was seen not to be finite.
    """

    total: Tensor
    done: int
    progress: float
    bad: bool = False


def train_epoch(
    session: Session,
    model: nn.Module,
    optimizer: Optimizer,
    train: Batches,
    criterion: Criterion,
    factor: Callable[[float], float],
    epoch: int,
    clock: Clock,
    place: torch.device,
    stepped: Callable[[], None] = lambda: None,
) -> Steps:
    """One epoch of steps, or as many as there is time for, at least one; ``factor`` is the schedule, and the first
    epoch is 1. ``stepped`` is called after the first step.
    """
    closure_needed = any(t.evaluations > 1 for t in session.recipe)
    key = derive(stream(session.seed, "model"), epoch)
    seed_global((derive(key, train.ranks.rank) if train.ranks.rank else key) >> 1, place)
    to_training(innermost(model))
    total, done = torch.zeros((), device=place), 0
    for number, came in enumerate(train.epoch(epoch, keep_bytes=session.takes_bytes)):
        if number and clock.over():
            break
        progress = clock.progress(epoch - 1 + number / len(train))
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor(progress)
        batch = session.batch(came)

        def closure() -> Tensor:
            optimizer.zero_grad()
            objective = session.loss(criterion, called(model, batch.x))  # noqa: B023  (called before the next batch)
            if train.share != 1.0:  # ranks with fewer rows count less in the mean over all
                objective = objective * train.share
            objective.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            return objective.detach()

        objective: Any
        if closure_needed:
            # torch types closures as returning float
            objective = train.ranks.mean(optimizer.step(closure))  # type: ignore[arg-type]
        else:
            objective = train.ranks.mean(closure())
            if place.type != "cpu" or math.isfinite(objective):
                optimizer.step()
        total, done = total + objective, number + 1
        # On a GPU, asking after every step would wait for it; there the epoch's sum tells.
        if place.type == "cpu" and not math.isfinite(objective):
            return Steps(total, done, progress, bad=True)
        if done == 1:
            stepped()
    return Steps(total, done, progress)


def measure(
    name: str,
    model: nn.Module,
    batches: Batches,
    criterion: Criterion,
    targets: str | None,
    limit: int | None = None,
    ignore_index: int | None = None,
    refined: bool = False,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Scores on the untouched truth, as :func:`~dashpot.evaluation.losses.metrics_of` gives them: weighted by the rows'
    weights, without positions that a mask or ``ignore_index`` leaves out. Where outputs or targets are no tensors, or
    outputs are something else than the targets, the loss alone. ``refined``: with the log loss after temperature. With
    ``ranks`` each runs its part of rows that are tensors, and all score all outputs: no score need be a sum.
    """
    shares = ranks if ranks is not None and batches.rows is not None else Ranks()
    # Inputs are not kept: as floats, images take more memory than all else.
    pairs = [(called(model, batch.x), batch.replace(x=None)) for batch in batches.in_order(limit, shares)]
    pairs = shares.joined(pairs)
    if not all(_scored(out, batch.truth, targets) for out, batch in pairs):
        return {f"{name}_loss": _loss(pairs, criterion)}
    measured: dict[str, float] = {}
    ignored = ignore_index is not None and any(bool((batch.truth == ignore_index).any()) for _, batch in pairs)
    if ignored or any(batch.mask is not None for _, batch in pairs):
        measured["loss"] = _loss(pairs, criterion)
        pairs = [_kept(out, batch, ignore_index if ignored else None) for out, batch in pairs]
    weights = [batch.weight for _, batch in pairs if batch.weight is not None]
    out, y = torch.cat([out for out, _ in pairs]), torch.cat([batch.truth for _, batch in pairs])
    weight = torch.cat(weights) if weights else None
    found = metrics_of(out, y, criterion, weight=weight, targets=targets)
    if refined:
        found[REFINED] = refined_loss(out, y, weight=weight, targets=targets)
    return {f"{name}_{key}": value for key, value in {**found, **measured}.items()}


def _scored(out: Any, y: Any, targets: str | None) -> bool:
    """Whether outputs can be held against targets, whatever the criterion does with them."""
    if not isinstance(out, Tensor) or not isinstance(y, Tensor):
        return False
    if (targets or targets_of(out, y)) != "classes":
        return out.numel() == y.numel()
    soft = y.is_floating_point() and y.shape == out.shape
    return out.ndim > 1 and (soft or class_codes(y, out).shape == (out.shape[0], *out.shape[2:]))


def _loss(pairs: list[tuple[Any, Batch]], criterion: Criterion) -> float:
    """The mean loss over all that counts."""
    total = count = 0.0
    for out, batch in pairs:
        found = samples_of(criterion, out, batch.truth)
        values = found.values.double()
        weight = weights_for(values, batch, batch.truth, found.ignore_index)
        share = torch.ones_like(values) if weight is None else weight
        each = Samples(values, "sum", class_weight=found.class_weight, weighted=found.weighted)
        total += float(each.reduce(values, share))
        count += float((share if found.class_weight is None else share * found.class_weight).sum())
    return total / count if count else math.nan


def _kept(out: Tensor, batch: Batch, ignore_index: int | None) -> tuple[Tensor, Batch]:
    """The positions that count, one row each."""
    y = batch.truth
    share = weights_for(torch.ones_like(y, dtype=torch.float64), batch, y, ignore_index)
    assert share is not None
    kept = share > 0
    if out.ndim == y.ndim + 1:  # the classes' axis is the second
        out = out.movedim(1, -1)
    return out.reshape(*y.shape, *out.shape[y.ndim :])[kept], Batch(None, y[kept], weight=share[kept])
