"""Sparsity of a trained model, and its distance from the optimum of the penalized problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.axes import Axes
from dashpot.core.errors import ConfigError
from dashpot.core.recipe import Recipe
from dashpot.core.running.computed import held
from dashpot.core.running.modes import evaluating
from dashpot.core.running.selecting import refuse_lazy
from dashpot.core.running.sharded import refuse_shards
from dashpot.core.running.view import ModelView, unwrap
from dashpot.core.technique import Technique
from dashpot.evaluation.losses import Criterion, default_criterion
from dashpot.shrinking.scattered import dense_again
from dashpot.sparsity.inspection import Inspection, LayerInspection
from dashpot.sparsity.spread import path_strengths, spread_of
from dashpot.techniques.penalties.l2 import L2, l2_gradient, l2_value
from dashpot.techniques.penalties.orthogonality import Orthogonality, orthogonality_gradient, orthogonality_value
from dashpot.techniques.penalties.proximal import Proximal
from dashpot.training.batches import Batches
from dashpot.training.setup import pick_device

LARGEST_RANK = 4096
"""The longest short side of a matrix whose rank is computed: singular values of larger ones take minutes."""


@torch.no_grad()
def inspect(
    model: nn.Module, recipe: Recipe | Technique | None = None, *, names: Sequence[str] | None = None
) -> Inspection:
    """Report on every weight tensor with two or more dimensions: norm, exact zeros, zero rows and columns, rank, share
    of the penalty, how its values are distributed; and how strongly each input column reaches the outputs. A weight
    that is computed from others, as under weight normalization, is reported as it is applied.

    Args:
        model: any module; nothing is changed.
        recipe: whose penalties to evaluate; strengths must be absolute.
        names: of the input columns; their numbers are given where there are none.

    Raises:
        ConfigError: a relative strength, or another number of names than columns.
        ConflictError: parameters without a shape yet, of lazy layers.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Linear(3, 2)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
        >>> print(dashpot.inspect(model, dashpot.L1(strength=0.5)))
        layer   shape  norm   zeros  zero rows  zero columns  rank    penalty  share
        weight  2 x 3  2.236  66.7%  1 of 2     1 of 3        1 of 2  1.5      100%
    """
    penalties = _penalties(recipe)
    refuse_lazy("inspect", unwrap(model))
    refuse_shards("inspect", model)
    model = dense_again(model)
    tensors = [tensor for tensor in held(unwrap(model)) if tensor.value.numel()]
    values = [
        sum(float(_value(technique, one.value.detach(), one.axes)) for technique, on in penalties if one.matches(on))
        for one in tensors
    ]
    total = sum(values)
    layers = []
    for tensor, value in zip(tensors, values, strict=True):
        w, axes = tensor.value.detach(), tensor.axes
        if w.ndim < 2:
            continue
        zero, matrices = w == 0, axes.matrices(w)
        side = min(matrices.shape[1:])
        ranks = None
        if side <= LARGEST_RANK and bool(matrices.isfinite().all()):
            ranks = torch.linalg.matrix_rank(matrices.to(torch.promote_types(w.dtype, torch.float32)))
        rows, columns = axes.by(axes.rows, zero), axes.by(axes.columns, zero)
        layers.append(
            LayerInspection(
                name=tensor.name,
                shape=tuple(w.shape),
                norm=float(torch.linalg.vector_norm(matrices.to(torch.promote_types(w.dtype, torch.float64)))),
                zeros=float(zero.double().mean()),
                zero_rows=int(rows.all(dim=1).sum()),
                zero_columns=int(columns.all(dim=1).sum()),
                rows=len(rows),
                columns=len(columns),
                rank=None if ranks is None else int(ranks.sum()),
                full_rank=len(matrices) * side,
                penalty=value if penalties else None,
                share=value / total if penalties and total > 0 else None,
                spread=spread_of(w),
            )
        )
    paths = path_strengths(model)
    if paths is not None and names is not None and len(names) != len(paths):
        raise ConfigError("names", f"{len(paths)} names, one per input column", len(names))
    labels = [str(k) for k in range(len(paths or ()))] if names is None else [str(name) for name in names]
    return Inspection(tuple(layers), paths, tuple(labels) if paths is not None else ())


def stationarity(
    model: nn.Module, data: Any, recipe: Recipe | Technique | None = None, loss: Criterion | None = None
) -> dict[str, float]:
    """How far from optimal the penalized problem ``mean loss + penalties`` is, for each parameter: the largest distance
    of a value from its optimality condition.

    For L1 that is ``|gradient + strength * sign(w)|`` off zero and ``max(|gradient| - strength, 0)`` at zero; for
    parameters without a penalty the gradient itself. All 0 at an optimum. Proximal penalties and constraints, L2 and
    orthogonality are part of the problem; decoupled decay, dropout, noise and the like are not, and a penalty with
    ``scaling="decoupled"`` solves another problem under an adaptive optimizer.

    Args:
        model: in any mode; it is evaluated in evaluation mode, and nothing is changed.
        data: as for :func:`dashpot.fit`; all rows.
        recipe: with absolute strengths.
        loss: from (output, target) to the loss of each sample; by default cross entropy or squared error.

    Raises:
        ConfigError: a relative strength.

    Example:
        >>> import torch, dashpot
        >>> x = torch.tensor([[1.0], [-1.0]]); y = torch.tensor([2.0, -2.0])
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(1.5)
        >>> dashpot.stationarity(model, (x, y), dashpot.L1(strength=1.0))
        {'weight': 0.0}
    """
    view = _view(model)
    penalties = _penalties(recipe)
    device = next(iter(view.parameters.values())).device if view.parameters else pick_device("cpu")
    batches = Batches("data", data, 4096, 0, device)
    names, tensors = list(view.parameters), list(view.parameters.values())
    gradients = [torch.zeros_like(p) for p in tensors]
    with evaluating(model):
        rows = 0
        for x, y in batches.in_order():
            out = (loss or default_criterion(y))(model(x), y)
            parts = torch.autograd.grad(out.reshape(len(y), -1).mean(dim=1).sum(), tensors, allow_unused=True)
            rows += len(y)
            for total, part in zip(gradients, parts, strict=True):
                total += 0 if part is None else part
    result: dict[str, float] = {}
    with torch.no_grad():
        for name, w, total in zip(names, tensors, gradients, strict=True):
            here = [technique for technique, on in penalties if name in view.names(on)]
            gradient = total / max(rows, 1)
            for technique in here:
                if isinstance(technique, L2):
                    gradient = gradient + l2_gradient(w, technique.strength)
                elif isinstance(technique, Orthogonality):
                    axes = view.axes(name)
                    push = orthogonality_gradient(axes.matrices(w), technique.strength)
                    gradient = gradient + axes.restored(push, w.shape)
            proximal = next((technique for technique in here if isinstance(technique, Proximal)), None)
            distance = (
                proximal.along(view.axes(name)).stationarity(w, gradient) if proximal is not None else gradient.abs()
            )
            result[name] = float(distance.max()) if distance.numel() else 0.0
    return result


def _view(model: nn.Module) -> ModelView:
    return ModelView(model, torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0))


def _penalties(recipe: Recipe | Technique | None) -> list[tuple[Any, Any]]:
    recipe = Recipe.coerce(recipe)
    found = [(t, t.on) for t in recipe if isinstance(t, Proximal | L2 | Orthogonality)]
    for technique, _ in found:
        if getattr(technique, "relative", None) is not None:
            raise ConfigError(
                "recipe",
                "one with absolute strengths",
                str(technique),
                "Call dashpot.resolve_strengths(recipe, model, data) first.",
            )
    return found


def _value(technique: L2 | Orthogonality | Proximal, w: Tensor, axes: Axes) -> Tensor:
    if isinstance(technique, L2):
        return l2_value(w, technique.strength)
    if isinstance(technique, Orthogonality):
        return orthogonality_value(axes.matrices(w), technique.strength)
    return technique.along(axes).value(w)
