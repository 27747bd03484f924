"""``max_strength``, the smallest strength that zeroes every weight, and strengths relative to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.configured import Configured
from dashpot.core.errors import ConfigError, DataError, UsageError
from dashpot.core.fields.domains import Range, check_number
from dashpot.core.fields.schedule import Schedule
from dashpot.core.recipe import Recipe
from dashpot.core.running.criteria import own_number, samples_of
from dashpot.core.running.modes import evaluating
from dashpot.core.running.sizes import at_once
from dashpot.core.running.view import ModelView, Params, unwrap
from dashpot.core.technique import Technique
from dashpot.core.weights import checked_weights
from dashpot.evaluation.losses import Criterion, default_criterion, is_classification
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.selected import refuse_computed
from dashpot.techniques.penalties.training_rows import CHUNK, collected, tensors

MANY_ROWS, FEW_ROWS = 1e-3, 1e-2
"""The weakest strength as a share of the strongest; with fewer rows than columns weaker ones only interpolate the
training rows.
"""
_IDLE = (nn.Flatten, nn.Identity)


def max_strength(
    model: nn.Module,
    x: Any,
    y: Any,
    technique: Penalty,
    criterion: Criterion | None = None,
    weight: Any = None,
) -> float:
    """The smallest strength at which zero weights are stationary: from there on the penalty zeroes everything.

    For a model of one linear layer (see :func:`linear_layer`) that is exact: the gradient is taken at zero weights,
    with the intercept that then fits best. For any other network it is the largest over the penalized tensors, each set
    to zero while the others keep their values, and so a scale rather than a bound: the network's other weights move in
    training.

    Args:
        model: in any mode and on any device; weights, gradients and modes are afterwards as they were.
        x, y: all rows that the loss is a mean over; integer ``y`` are classes, floating-point ``y`` are values.
        technique: the penalty; its own strength is not used.
        criterion: from (output, target) to the loss of each sample; by default cross entropy or squared error.
        weight: of the rows [n]: one of weight 0 is absent, one of weight 2 counts twice.

    Returns:
        The strength; 0 where the gradient is zero.

    Raises:
        ConfigError: a penalty that moves zero at any strength or at none (an elastic net without an L1 part, L0), or
            that selects no parameter of the model.
        DataError: x and y that are no tensors or arrays of one length above 0.

    Example:
        >>> import torch, dashpot
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]); y = torch.tensor([2.0, -2.0])
        >>> round(max_strength(torch.nn.Linear(2, 1), x, y, dashpot.L1()), 6)
        4.0
    """
    x, y = tensors(x, y)
    share = None
    if weight is not None:
        share = torch.from_numpy(checked_weights("weight", weight, len(x)))
        share /= share.sum()
    view, params = _penalized(model, technique)
    if not len(params):
        raise ConfigError(
            f"{type(technique).__name__}.on",
            f"a selection of some parameter of {type(view.model).__name__}",
            str(technique.on),
        )
    for name, w, _ in params:
        technique.along(view.axes(name)).refuse_shape(name, w)
    if criterion is None and (layer := linear_layer(model, x, technique)) is not None:
        gradient = zero_gradient(x.flatten(1).double(), y, layer.out_features, layer.bias is not None, share)
        return technique.max_strength(gradient)
    gradients = _gradients(view.model, params, x, y, criterion or default_criterion(y), share)
    return max(
        technique.along(axes).max_strength(grad.double()) for axes, grad in zip(params.axes, gradients, strict=True)
    )


def resolve_strengths(recipe: Recipe | Technique, model: nn.Module, data: Any, loss: Criterion | None = None) -> Recipe:
    """The recipe with every relative strength turned into a number: ``relative=r`` becomes ``strength = r *
    max_strength``.

    Args:
        recipe: its penalties with ``relative`` are replaced, schedules of it by schedules of the strength; everything
            else stays as it is.
        model: with its initial weights.
        data: ``(x, y)`` or ``(x, y, weight)`` of tensors or arrays, a Dataset or a DataLoader, which is gone through
            once.
        loss: from (output, target) to the loss of each sample; by default cross entropy or squared error.

    Returns:
        The recipe; where no strength is relative, the same recipe; the data are then not read.

    Raises:
        ConfigError, DataError: as :func:`max_strength`; also where the gradient at zero is zero, so that there is
            nothing to take a share of.

    Example:
        >>> import torch, dashpot
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]); y = torch.tensor([2.0, -2.0])
        >>> print(resolve_strengths(dashpot.L1(relative=0.25), torch.nn.Linear(2, 1), (x, y)))
        L1(strength=1)
    """
    recipe = Recipe.coerce(recipe)
    if not any(isinstance(t, Penalty) and t.relative is not None for t in recipe):
        return recipe
    x, y, weight = collected(data)

    def turn(technique: Configured) -> Configured:
        if not isinstance(technique, Penalty) or technique.relative is None:
            return technique
        largest = max_strength(model, x, y, technique, loss, weight)
        if largest == 0:
            raise DataError(
                f"{type(technique).__name__}(relative={technique.relative:g}) must have a gradient to be relative to,"
                " and that at zero weights is 0. Give strength= instead."
            )
        relative: Any = technique.relative
        strength: Any = relative.scaled(largest) if isinstance(relative, Schedule) else relative * largest
        return replace(technique, strength=strength, relative=None)

    return Recipe(turn(technique) for technique in recipe)


def positive_strength_max(
    model: nn.Module, x: Tensor, y: Tensor, technique: Penalty, weight: Tensor | None = None
) -> float:
    """:func:`dashpot.max_strength`, refused where it is 0.

    Raises:
        DataError: the gradient at zero weights is 0.
    """
    largest = max_strength(model, x, y, technique, weight=weight)
    if not 0 < largest < np.inf:
        raise DataError(
            f"the target must vary with some finite input; the gradient of the loss at zero weights is {largest:g}."
            " Check the columns."
        )
    return largest


def strength_grid(
    given: Sequence[float] | None,
    points: int,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    technique: Penalty,
    weight: Tensor | None = None,
) -> tuple[float, ...]:
    """The given strengths from strong to weak, or ``points`` evenly spaced ones on a logarithmic scale below
    :func:`max_strength`.
    """
    if given is not None:
        checked = {check_number("strengths", value, Range(0.0, math.inf, open="low")) for value in given}
        if not checked:
            raise ConfigError(
                "strengths", "at least one number > 0", list(given), "Leave them out to have them chosen."
            )
        return tuple(sorted(checked, reverse=True))
    try:
        largest = positive_strength_max(model, x, y, technique, weight)
    except ConfigError as error:
        if not error.parameter.endswith(".relative"):
            raise
        rule = "a penalty that zeroes everything from some strength on, where no strengths are given"
        raise ConfigError(
            "technique", rule, technique.name, "Give strengths=, or add an L1 part, such as elastic-net."
        ) from None
    columns = x.flatten(1).shape[1] if x.ndim > 1 else 1
    share = FEW_ROWS if len(x) < columns else MANY_ROWS
    return tuple(float(value) for value in np.geomspace(largest, largest * share, points))


def linear_layer(model: nn.Module, x: Tensor, technique: Penalty) -> nn.Linear | None:
    """The one linear layer of a model that is nothing else, where the penalty acts on exactly its weight; else None.

    That is an ``nn.Linear``, or an ``nn.Sequential`` of one with Flatten, Identity and Dropout at rate 0. Such a model
    has one optimum (for a convex penalty), which needs no training loop to be found.
    """
    plain = unwrap(model)
    parts = [plain] if isinstance(plain, nn.Linear) else list(plain) if isinstance(plain, nn.Sequential) else []
    layers = [part for part in parts if type(part) is nn.Linear]
    idle = all(
        type(part) in _IDLE or (isinstance(part, nn.Dropout) and part.p == 0)
        for part in parts
        if type(part) is not nn.Linear
    )
    flat = x.ndim == 2 or any(
        isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) == (1, -1) for part in parts
    )
    if len(layers) != 1 or not idle or not flat or x.flatten(1).shape[1] != layers[0].in_features:
        return None
    layer = layers[0]
    params = _penalized(model, technique)[1]
    alone = len(params) == 1 and params.tensors[0] is layer.weight and layer.weight.requires_grad
    return layer if alone and (layer.bias is None or layer.bias.requires_grad) else None


def zero_gradient(x: Tensor, y: Tensor, outputs: int, intercept: bool, share: Tensor | None = None) -> Tensor:
    """The gradient [outputs, features] of the default loss at zero weights, with the intercept that is best there (or
    none); ``share``: of each row in the loss [n], by default 1 / n.
    """
    n = len(x)
    share = torch.full((n, 1), 1 / n, dtype=x.dtype, device=x.device) if share is None else share.to(x)[:, None]
    if is_classification(y):
        target = torch.nn.functional.one_hot(y, outputs).to(x)
        start = (share * target).sum(dim=0) if intercept else torch.full_like(target[0], 1 / outputs)
        return (share * (start - target)).T @ x
    target = y.reshape(n, -1).to(x)
    start = (share * target).sum(dim=0) if intercept else torch.zeros_like(target[0])
    return 2 * (share * (start - target)).T @ x / outputs


def _penalized(model: nn.Module, technique: Penalty) -> tuple[ModelView, Params]:
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ConfigError("model", "a module with trainable parameters", type(model).__name__)
    view = ModelView(model, torch.optim.SGD(trainable, lr=1.0))
    refuse_computed(type(technique).__name__, technique.on, view)
    return view, view.params(technique.on)


def _gradients(
    model: nn.Module, params: Params, x: Tensor, y: Tensor, criterion: Criterion, share: Tensor | None
) -> Iterator[Tensor]:
    """For each parameter the gradient of the mean loss with that parameter at zero."""
    place = params.tensors[0]
    step = min(CHUNK, at_once(x, place.device))
    with evaluating(model):
        for w in params.tensors:
            kept = w.detach().clone()
            total = torch.zeros_like(kept, dtype=torch.float64 if kept.device.type != "mps" else kept.dtype)
            try:
                with torch.no_grad():
                    w.zero_()
                with torch.enable_grad():
                    for start in range(0, len(x), step):
                        rows = slice(start, start + step)
                        part = x[rows].to(place.device)
                        out = model(part.to(place.dtype) if part.is_floating_point() else part)
                        target = y[rows].to(place.device)
                        target = target.to(out.dtype) if target.is_floating_point() else target
                        loss = _part_of_mean(criterion, out, target, len(x), None if share is None else share[rows])
                        (grad,) = torch.autograd.grad(loss, [w], allow_unused=True)
                        total += 0 if grad is None else grad
            finally:
                with torch.no_grad():
                    w.copy_(kept)
            yield total


def _part_of_mean(criterion: Criterion, out: Tensor, target: Tensor, rows: int, share: Tensor | None) -> Tensor:
    """What some rows add to the mean loss over all ``rows``; ``share``: of each of them, by default 1 / rows."""
    if share is None:
        loss: Tensor = own_number(criterion, out, target)
        return loss.sum() / loss.numel() * len(target) / rows
    found = samples_of(criterion, out, target).values
    if found.ndim == 0:
        raise UsageError("weights need the loss of each sample, and the criterion gives one number.")
    each = found.reshape(len(target), -1).mean(dim=1)
    return (each * share.to(each)).sum()
