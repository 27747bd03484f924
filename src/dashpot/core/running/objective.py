"""The one place where per-sample losses become one number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from dashpot.core.errors import UsageError
from dashpot.core.points import Attached
from dashpot.core.running.batch import Batch, reduced, weights_for
from dashpot.core.running.criteria import Criterion, Samples, own_number, reduces, samples_of
from dashpot.core.running.run import Run
from dashpot.core.running.targets import demand_samples


def objective(
    run: Run, acting: list[Attached], loss: Tensor | Criterion, out: Any, target: Any, total: float | Tensor | None
) -> Tensor:
    """What :meth:`Session.loss` says, for the techniques ``acting`` on losses."""
    training = run.view.model.training
    batch = run.batch if training else run.evaluated
    if training:
        run.called.add("on_loss")
    else:
        acting = []
    truth = target if target is not None else batch.truth if batch is not None else None
    if not isinstance(loss, Tensor):
        return _by_criterion(run, acting, loss, out, target, batch, truth, total)
    if loss.ndim == 0:
        return _scalar(run, acting, loss, batch, total)
    demand_samples(loss, out, truth)
    y = target if target is not None else batch.y if batch is not None else None
    weight = weights_for(loss, batch, truth, run.ignore_index)
    return reduced(_acted(run, acting, Samples(loss, target=y, weight=weight), out), weight, total=total)


def _by_criterion(
    run: Run,
    acting: list[Attached],
    criterion: Criterion,
    out: Any,
    target: Any,
    batch: Batch | None,
    truth: Any,
    total: float | Tensor | None,
) -> Tensor:
    y = target if target is not None else batch.y if batch is not None else None
    if y is None:
        raise UsageError(
            "session.loss(criterion, out) has no target. Call session.batch(x, y) first, or pass it as the third"
            " argument."
        )
    if reduces(criterion) and not _needy(run, acting, batch, total):
        return own_number(criterion, out, y)  # type: ignore[no-any-return]  # to the last bit
    found = samples_of(criterion, out, y)
    values = found.values
    if values.ndim == 0:
        return _scalar(run, acting, values, batch, total)
    weight = weights_for(values, batch, truth, run.ignore_index)
    if found.ignore_index is not None and found.ignore_index != run.ignore_index:
        left = weights_for(values, None, truth, found.ignore_index)
        weight = left if weight is None or left is None else weight * left
    values = _acted(run, acting, replace(found, target=y, weight=weight), out)
    return found.reduce(values, weight, total)


def _acted(run: Run, acting: list[Attached], found: Samples, out: Any) -> Tensor:
    """The losses of samples after the techniques that act on them."""
    values = found.values
    run.samples = found
    try:
        for _, ctx in acting:
            values = ctx.technique.on_loss(values, out, ctx)
    finally:
        run.samples = None
    return values


def _scalar(
    run: Run, acting: list[Attached], loss: Tensor, batch: Batch | None, total: float | Tensor | None
) -> Tensor:
    """One number passes where nothing needs the loss of each sample."""
    needy = _needy(run, acting, batch, total)
    if needy:
        raise UsageError(
            f"session.loss got one number, but {', '.join(needy)} needs the loss of each sample. Compute the criterion"
            ' with reduction="none", or pass the criterion itself: session.loss(criterion, out).'
        )
    return loss


def _needy(run: Run, acting: list[Attached], batch: Batch | None, total: float | Tensor | None) -> list[str]:
    """The techniques that need the loss of each sample."""
    needy = [type(technique).__name__ for technique, _ in acting]
    if batch is not None:
        needy += [f"the batch's {name}" for name in ("weight", "mask") if getattr(batch, name) is not None]
    if run.ignore_index is not None:
        needy.append("ignore_index")
    if total is not None:
        needy.append("total")
    return needy
