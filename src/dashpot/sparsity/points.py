"""Models at one strength after another: solved exactly where that can be done, else trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import DataError
from dashpot.core.language import say
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.core.weights import as_counts, checked_weights
from dashpot.evaluation.losses import is_classification
from dashpot.sparsity.linear import solve_path
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.strengths import linear_layer
from dashpot.techniques.penalties.training_rows import tensors
from dashpot.training.loop import DivergenceWarning, fit


@dataclass(frozen=True)
class Point:
    """A model at one strength: its weights, whether the solution is good, and the linear layer's weight in float64
    where it was solved exactly.
    """

    state: dict[str, Tensor]
    good: bool
    weight: Tensor | None = None


@dataclass(frozen=True)
class Training:
    """How networks that are no single linear layer are trained; as for :func:`dashpot.fit`."""

    epochs: int = 50
    batch_size: int = 128
    lr: float = 1e-3
    seed: int = 0
    device: str | torch.device = "auto"


def fresh_model(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A model whose initial weights depend on the seed only; the global random state is untouched."""
    with initial_weights(seed):
        return make()


def fit_points(
    make: Callable[[], nn.Module],
    x: Tensor,
    y: Tensor,
    technique: Penalty,
    strengths: Sequence[float],
    order: str,
    training: Training,
    weight: Tensor | None = None,
) -> list[Point]:
    """A model at each of the strengths, which come and are returned from strong to weak.

    Args:
        make: returns a fresh model.
        order: ``"strong-to-weak"``, ``"weak-to-strong"``, or ``"independent"``; in the first two each point starts from
            the one before.
        weight: of the rows [n], above 0; None: each counts once.
    """
    model = make()
    layer = linear_layer(model, x, technique)
    sequence = list(strengths)[::-1] if order == "weak-to-strong" else list(strengths)
    points: list[Point] = []
    warm = order != "independent"
    if layer is not None:
        check_targets(y, layer.out_features)
        for solved in solve_path(
            x.flatten(1),
            y,
            layer.out_features,
            technique,
            sequence,
            intercept=layer.bias is not None,
            warm=warm,
            weight=weight,
        ):
            with torch.no_grad():
                layer.weight.copy_(solved.weight)
                if layer.bias is not None:
                    layer.bias.copy_(solved.bias)
            points.append(Point(_state(model), solved.converged, solved.weight))
    else:
        together = {} if warm else trained_together(make, model, x, y, technique, sequence, training, weight)
        for i, strength in enumerate(sequence):
            if i in together:
                points.append(together[i])
                continue
            if not warm:
                model = make()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)
                result = fit(
                    model,
                    (as_inputs(model, x), as_inputs(model, y), *(() if weight is None else (weight,))),
                    recipe=technique.with_strength(strength),
                    epochs=training.epochs,
                    batch_size=training.batch_size,
                    lr=training.lr,
                    seed=training.seed,
                    device=training.device,
                    progress=False,
                )
            points.append(Point(_state(model), result.diverged is None))
    return points[::-1] if order == "weak-to-strong" else points


def trained_together(
    make: Callable[[], nn.Module],
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    technique: Penalty,
    strengths: Sequence[float],
    training: Training,
    weight: Tensor | None = None,
) -> dict[int, Point]:
    """Fresh models at all strengths as one population, by position; without those whose loss diverged."""
    from dashpot.population.members import Member
    from dashpot.population.population import Population

    if len(strengths) < 2:
        return {}
    rows = np.arange(len(x))
    members = [
        Member(make=make, recipe=Recipe((technique.with_strength(s),)), lr=training.lr, seed=training.seed, rows=rows)
        for s in strengths
    ]
    population = Population(
        members,
        [(as_inputs(model, x), as_inputs(model, y))],
        epochs=training.epochs,
        batch_size=training.batch_size,
        device=training.device,
        bfloat16=False,
        weight=weight,
    )
    population.train(training.epochs)
    return {i: Point(_state(population.model(i)), True) for i in range(len(members)) if i not in population.failed}


def present_rows(data: Any, sample_weight: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, y and weights [n] without the rows of weight 0, which are absent; None where all weigh the same.

    Raises:
        DataError: no pair of one length above 0, or weights that are none.
    """
    if not isinstance(data, Sequence) or len(data) != 2:
        got = f"a {type(data).__name__}" + (f" of {len(data)}" if isinstance(data, Sequence) else "")
        raise DataError(f"data must be (x, y), got {got}. Give the weights of rows as sample_weight.")
    x, y = tensors(*data)
    if sample_weight is None:
        return x, y, None
    values = checked_weights("sample_weight", sample_weight, len(x))
    kept = np.flatnonzero(values)
    counts = as_counts(values[kept])
    return x[kept], y[kept], None if counts is None else torch.from_numpy(counts)


def as_inputs(model: nn.Module, x: Tensor) -> Tensor:
    """Floating-point ``x`` in the precision of the model's weights."""
    dtype = next((p.dtype for p in model.parameters()), x.dtype)
    return x.to(dtype) if x.is_floating_point() else x


def check_targets(y: Tensor, outputs: int) -> None:
    """Raise DataError where the targets do not fit a network of so many outputs."""
    if is_classification(y):
        if outputs == 1:
            raise DataError("classes need one output for each, got a network with 1 output. Give it 2 for yes and no.")
        if y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= outputs:
            raise DataError(
                f"classes must be [rows] whole numbers from 0 to {outputs - 1} for {outputs} outputs, got"
                f" {list(y.shape)}, {int(y.min())} to {int(y.max())}."
            )
    elif y.numel() != len(y) * outputs:
        raise DataError(f"values must be {outputs} per row for {outputs} outputs, got shape {list(y.shape)}.")


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def fold_done(fold: int, folds: int, loss: float) -> str:
    """What is told after a fold (from 0), in the language that is spoken."""
    return say("fold {n} of {folds}: lowest validation loss {loss}", n=fold + 1, folds=folds, loss=f"{loss:.4f}")
