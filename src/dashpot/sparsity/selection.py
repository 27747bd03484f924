"""Selected features of a sparse model, and stability selection."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError, DataError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.rng import initial_weights
from dashpot.evaluation.losses import is_classification
from dashpot.sparsity.features import used_columns
from dashpot.sparsity.linear import solve_path
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.strengths import linear_layer, positive_strength_max
from dashpot.techniques.penalties.training_rows import tensors
from dashpot.training.loop import DivergenceWarning, fit

DEFAULT_SHARE_OF_MAX = 0.1
"""The strength of stability selection where none is given, as a share of the smallest one that zeroes everything."""


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


def selected_features(model: nn.Module, names: Sequence[str] | None = None) -> list[str]:
    """The input columns (channels of images, tokens of an embedding) with any non-zero weight in the layers that the
    model's input enters first.

    Those are found by following the input through ``forward``, past activations, dropout and batch normalization; with
    several of them a column is selected that any uses. Where ``forward`` cannot be followed (control flow on data),
    the first layer in the order of their definition is read.

    Args:
        model: any module; a computed weight, as under weight normalization, is read as it is applied.
        names: of all columns; their numbers are given where there are none.

    Raises:
        ConfigError: a model without weights, or one that mixes or splits columns before any weight (a layer
            normalization first); another number of names than columns.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(3, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 2.0, 0.0]]))
        >>> selected_features(layer, ["age", "height", "weight"])
        ['height']
    """
    used = used_columns(model)
    labels = [str(i) for i in range(len(used))] if names is None else list(names)
    if len(labels) != len(used):
        raise ConfigError("names", f"{len(used)} names, one per input column", len(labels))
    return [name for name, kept in zip(labels, used.tolist(), strict=True) if kept]


def stability_selection(
    model_fn: Callable[[], nn.Module],
    data: tuple[Any, Any],
    technique: Penalty | str,
    *,
    strength: float | None = None,
    resamples: int = 50,
    share: float = 0.5,
    seed: int = 0,
    epochs: int = 50,
    batch_size: int = 128,
    lr: float = 1e-3,
    device: str | torch.device = "auto",
) -> np.ndarray:
    """How often each input column is selected when the model is fitted to random subsets of the rows (Meinshausen and
    Bühlmann 2010).

    A column that is chosen in most subsets is a finding; one that comes and goes is chance. The authors take those
    above a frequency of 0.6 to 0.9.

    Args:
        model_fn: returns a fresh model.
        data: ``(x, y)`` as for :func:`dashpot.path`; standardize the inputs first.
        technique: a penalty that gives exact zeros in the first layer.
        strength: of the penalty; by default a tenth of the smallest one that zeroes everything.
        resamples: subsets, at least 1.
        share: of the rows in each, between 0 and 1; by class where there are classes.
        seed: of the subsets, the initial weights and the training.
        epochs, batch_size, lr, device: of networks that are no single linear layer.

    Returns:
        The frequencies in [0, 1], one per input column.

    Raises:
        ConfigError: a technique without a strength, or bad numbers.
        DataError: x and y of different lengths.

    Example:
        >>> import torch, dashpot
        >>> x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)); y = 2 * x[:, 3]
        >>> make = lambda: torch.nn.Linear(6, 1)
        >>> frequency = stability_selection(make, (x, y), dashpot.L1(), strength=1.0, resamples=10)
        >>> float(frequency[3])
        1.0
    """
    technique = check_technique(technique)
    resamples, seed = check_whole("resamples", resamples), check_whole("seed", seed, low=0)
    share = check_number("share", share, Range(0.0, 1.0, open="both"))
    x, y = tensors(*data)
    training = Training(epochs, batch_size, lr, seed, device)
    model = fresh_model(model_fn, seed)
    if strength is None:
        strength = DEFAULT_SHARE_OF_MAX * positive_strength_max(model, x, y, technique)
    strength = check_number("strength", strength, Range(0.0, np.inf, open="low"))
    count = np.zeros(len(used_columns(model)))
    rng = np.random.default_rng([seed, 0x57AB])
    for _ in range(resamples):
        rows = _subset(y, share, rng)
        (point,) = fit_points(
            lambda: fresh_model(model_fn, seed), x[rows], y[rows], technique, [strength], "independent", training
        )
        model.load_state_dict(point.state)
        count += used_columns(model).numpy()
    return count / resamples


def check_technique(given: object) -> Penalty:
    """The penalty that a technique or its text means; raise ConfigError for what is none, or has a schedule: there is
    no strength to vary.
    """
    technique = Recipe.coerce_one("technique", given) if isinstance(given, str | Recipe) else given
    if isinstance(technique, Penalty) and technique.schedules():
        raise ConfigError(
            "technique",
            "a penalty of constant numbers, since its strength is what is varied",
            str(technique),
            "Leave the schedule out.",
        )
    if not isinstance(technique, Penalty):
        raise ConfigError(
            "technique",
            "a penalty, whose strength can be varied",
            technique,
            "For example dashpot.L1(), or l1 on the command line.",
        )
    return technique


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
) -> list[Point]:
    """A model at each of the strengths, which come and are returned from strong to weak.

    Args:
        make: returns a fresh model.
        order: ``"strong-to-weak"``, ``"weak-to-strong"``, or ``"independent"``; in the first two each point starts from
            the one before.
    """
    model = make()
    layer = linear_layer(model, x, technique)
    sequence = list(strengths)[::-1] if order == "weak-to-strong" else list(strengths)
    points: list[Point] = []
    warm = order != "independent"
    if layer is not None:
        check_targets(y, layer.out_features)
        for solved in solve_path(
            x.flatten(1), y, layer.out_features, technique, sequence, intercept=layer.bias is not None, warm=warm
        ):
            with torch.no_grad():
                layer.weight.copy_(solved.weight)
                if layer.bias is not None:
                    layer.bias.copy_(solved.bias)
            points.append(Point(_state(model), solved.converged, solved.weight))
    else:
        together = {} if warm else trained_together(make, model, x, y, technique, sequence, training)
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
                    (as_inputs(model, x), as_inputs(model, y)),
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
    )
    population.train(training.epochs)
    return {i: Point(_state(population.model(i)), True) for i in range(len(members)) if i not in population.failed}


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


def _subset(y: Tensor, share: float, rng: np.random.Generator) -> np.ndarray:
    labels = y.cpu().numpy() if is_classification(y) and y.ndim == 1 else np.zeros(len(y), dtype=np.int64)
    parts = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        parts.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(parts))
