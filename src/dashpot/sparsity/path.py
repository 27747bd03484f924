"""The regularization path: one model at every strength of a penalty, with cross-validated scores and the two usual
choices among them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import check_whole
from dashpot.core.running.view import ModelView
from dashpot.evaluation.cross_validation import choose, folds
from dashpot.evaluation.losses import is_classification, metrics_of, predict
from dashpot.evaluation.metrics import DEFAULT
from dashpot.evaluation.statistics import standard_error
from dashpot.sparsity.features import used_columns
from dashpot.sparsity.points import (
    Point,
    Training,
    as_inputs,
    check_targets,
    fit_points,
    fold_done,
    fresh_model,
    present_rows,
)
from dashpot.sparsity.result import PathResult
from dashpot.sparsity.selection import check_technique
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.strengths import linear_layer, strength_grid
from dashpot.training.task import outputs_of

Order = Literal["auto", "strong-to-weak", "weak-to-strong", "independent"]
ORDERS = ("auto", "strong-to-weak", "weak-to-strong", "independent")
MakeModel = Callable[[int], nn.Module]
"""From the number of input columns to a fresh model."""
Prepare = Callable[[np.ndarray], tuple[Tensor, Tensor]]
"""From training rows to all rows as (x, y), prepared with statistics of the training rows only."""
Note = Callable[[str], None]


def path(
    model_fn: Callable[[], nn.Module],
    data: tuple[Any, Any],
    technique: Penalty | str,
    *,
    strengths: Sequence[float] | None = None,
    points: int = 30,
    cv: int = 5,
    sample_weight: Any = None,
    order: Order = "auto",
    epochs: int = 50,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    device: str | torch.device = "auto",
    note: Note | None = None,
) -> PathResult:
    """The model at every strength of a penalty, each scored by cross-validation, and then fitted to all rows.

    A model of one linear layer (``nn.Linear``, alone or in a Sequential with Flatten, Identity and idle Dropout) is
    solved exactly; its coefficients are scikit-learn's (``lasso_path`` and ``enet_path``: strength = 2 alpha; L1
    logistic regression: strength = 1 / (C rows), with weights 1 / (C times their sum)). Any other network is trained by
    :func:`dashpot.fit` at each strength.

    Args:
        model_fn: returns a fresh model; it is called under a random state of its own, so that all points start from the
            same initial weights.
        data: ``(x, y)``, tensors or arrays. Integer ``y`` are classes (cross entropy), floating-point ``y`` are values
            (squared error). Inputs are used as they are: standardize them first, since a penalty is only fair to
            columns of one scale.
        technique: a penalty; its strength is varied.
        strengths: those to go through; by default ``points`` of them, evenly spaced on a logarithmic scale from the
            smallest one that zeroes everything (:func:`dashpot.max_strength`) to a thousandth of it, or a hundredth
            where there are fewer rows than columns.
        points: how many, at least 1.
        cv: folds, at least 2; stratified by class.
        sample_weight: how much each row counts [n]: a row of weight 0 is absent, one of weight 2 counts as two rows, in
            the strengths, in training and in every score within a fold. A row is in one fold, and folds count alike.
        order: of training, where each point starts from the weights of the one before. ``"auto"``: strong to weak for
            one linear layer; weak to strong for deeper networks, since a hidden layer that is all zero has zero
            gradients and never comes back. ``"independent"``: each from fresh weights.
        epochs, batch_size, lr: of the networks that are trained, as in :func:`dashpot.fit`.
        seed: of the folds, the initial weights and the training.
        feature_names: of the columns of ``x``.
        device: of the networks that are trained; exact solutions are made on the CPU.
        note: called with messages for the user.

    Returns:
        The path, from strong to weak.

    Raises:
        ConfigError: a technique without a strength to vary, bad numbers, or more folds than rows of a class.
        DataError: x and y of different lengths, weights that are not one finite number >= 0 for each row, or a gradient
            at zero that is zero.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)); y = 3 * x[:, 0] - x[:, 1]
        >>> result = path(lambda: torch.nn.Linear(8, 1), (x, y), dashpot.L1(), points=12)
        >>> result.selected[0], result.selected[-1], result.zeros[0]
        (0, 2, 1.0)
    """
    x, y, weight = present_rows(data, sample_weight)
    return run_path(
        lambda columns: model_fn(),
        lambda rows: (x, y),
        len(x),
        check_technique(technique),
        strengths=strengths,
        points=points,
        cv=cv,
        weight=weight,
        weights=None if sample_weight is None else "sample_weight",
        order=order,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        feature_names=feature_names,
        device=device,
        note=note,
    )


def run_path(
    model_for: MakeModel,
    prepare: Prepare,
    rows: int,
    technique: Penalty,
    *,
    strengths: Sequence[float] | None = None,
    points: int = 30,
    cv: int = 5,
    weight: Tensor | None = None,
    weights: str | None = None,
    order: str = "auto",
    epochs: int = 50,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    device: str | torch.device = "auto",
    note: Note | None = None,
) -> PathResult:
    """As :func:`path`, with inputs prepared afresh for each fold, so that no statistic of its validation rows is
    learned from.

    Args:
        model_for: from the number of input columns to a fresh model; a fold may have fewer columns than all rows have.
        prepare: from row numbers to all rows as (x, y), with statistics of those rows only.
        rows: how many there are.
        weight: of the rows [rows], above 0; None: each counts once.
        weights: what the weights are called, for the record.
    """
    started = time.perf_counter()
    tell = note or (lambda text: None)
    technique = check_technique(technique)
    points, cv, seed = check_whole("points", points), check_whole("cv", cv, low=2), check_whole("seed", seed, low=0)
    if order not in ORDERS:
        raise ConfigError("order", f"one of {', '.join(ORDERS)}", order)
    training = Training(check_whole("epochs", epochs), check_whole("batch_size", batch_size), lr, seed, device)
    x, y = prepare(np.arange(rows))
    splits = folds(y, cv, seed)

    def make(columns: int) -> Callable[[], nn.Module]:
        return lambda: fresh_model(lambda: model_for(columns), seed)

    model = make(x.shape[1])()
    layer = linear_layer(model, x, technique)
    check_targets(y, layer.out_features if layer is not None else outputs_of(model, as_inputs(model, x[:2])))
    chosen = strength_grid(strengths, points, model, x, y, technique, weight)
    if order == "auto":
        order = "weak-to-strong" if layer is None else "strong-to-weak"
    columns = len(used_columns(model))
    names = tuple(feature_names) if feature_names is not None else tuple(str(i) for i in range(columns))
    if len(names) != columns:
        raise ConfigError("feature_names", f"{columns} names, one per input column", len(names))

    metric = DEFAULT["classification" if is_classification(y) else "regression"]

    def fitted(x: Tensor, y: Tensor, weight: Tensor | None) -> list[Point]:
        return fit_points(make(x.shape[1]), x, y, technique, chosen, order, training, weight)

    losses, values, good = _cross_validated(fitted, make, prepare, splits, len(chosen), metric, weight, tell)
    final = fitted(x, y, weight)
    tell("all rows: done")
    zeros, selected = zip(*(_sparsity(model, point, technique) for point in final), strict=True)
    loss, loss_se = losses.mean(axis=0), standard_error(losses)
    best, one_se = choose(losses, values)
    solved = [point.weight.numpy() for point in final if point.weight is not None]
    return PathResult(
        strengths=chosen,
        technique=technique,
        metric=metric,
        fold_scores=values,
        fold_losses=losses,
        score=values.mean(axis=0),
        score_se=standard_error(values),
        loss=loss,
        loss_se=loss_se,
        zeros=zeros,
        selected=selected,
        coefficients=np.stack(solved) if solved else None,
        best=best,
        one_se=one_se,
        converged=tuple(bool(ok and point.good) for ok, point in zip(good, final, strict=True)),
        feature_names=names,
        rows=rows,
        order=order,
        seconds=time.perf_counter() - started,
        states=tuple(point.state for point in final),
        make=make(x.shape[1]),
        weights=weights,
    )


def _cross_validated(
    fitted: Callable[[Tensor, Tensor, Tensor | None], list[Point]],
    make: Callable[[int], Callable[[], nn.Module]],
    prepare: Prepare,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    points: int,
    metric: str,
    weight: Tensor | None,
    tell: Note,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The losses and the metric of each point on each fold's validation rows [folds, points], and whether the point was
    solved on all of them [points].
    """
    losses, values = np.empty((len(splits), points)), np.empty((len(splits), points))
    good = np.ones(points, dtype=bool)
    for fold, (train, valid) in enumerate(splits):
        x, y = prepare(train)
        own, held = (None if weight is None else weight[rows] for rows in (train, valid))
        found = fitted(x[train], y[train], own)
        network = make(x.shape[1])()
        for i, point in enumerate(found):
            network.load_state_dict(point.state)
            measured = metrics_of(predict(network, as_inputs(network, x[valid])), y[valid], weight=held)
            losses[fold, i], values[fold, i] = measured["loss"], measured[metric]
            good[i] &= point.good
        tell(fold_done(fold, len(splits), losses[fold].min()))
    return losses, values, good


def _sparsity(model: nn.Module, point: Point, technique: Penalty) -> tuple[float, int]:
    """The share of exact zeros among the penalized weights, and the number of used input columns."""
    model.load_state_dict(point.state)
    trainable = [p for p in model.parameters() if p.requires_grad]
    penalized = ModelView(model, torch.optim.SGD(trainable, lr=1.0)).params(technique.on).tensors
    zeros = sum(int((p == 0).sum()) for p in penalized) / sum(p.numel() for p in penalized)
    return zeros, int(used_columns(model).sum())
