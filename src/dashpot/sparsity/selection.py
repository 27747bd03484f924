"""Selected features of a sparse model, and stability selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dashpot.core.errors import ConfigError
from dashpot.core.fields.domains import Range, check_number, check_whole
from dashpot.core.recipe import Recipe
from dashpot.evaluation.losses import is_classification
from dashpot.sparsity.features import used_columns
from dashpot.sparsity.points import Training, fit_points, fresh_model, present_rows
from dashpot.techniques.penalties.penalty import Penalty
from dashpot.techniques.penalties.strengths import positive_strength_max

DEFAULT_SHARE_OF_MAX = 0.1
"""The strength of stability selection where none is given, as a share of the smallest one that zeroes everything."""


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
    sample_weight: Any = None,
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
        sample_weight: how much each row counts [n]: a row of weight 0 is absent, one of weight 2 counts as two in the
            loss and in the default strength. Subsets are drawn by rows: one of weight 2 is in them or not.
        seed: of the subsets, the initial weights and the training.
        epochs, batch_size, lr, device: of networks that are no single linear layer.

    Returns:
        The frequencies in [0, 1], one per input column.

    Raises:
        ConfigError: a technique without a strength, or bad numbers.
        DataError: x and y of different lengths, or weights that are not one finite number >= 0 for each row.

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
    x, y, weight = present_rows(data, sample_weight)
    training = Training(epochs, batch_size, lr, seed, device)
    model = fresh_model(model_fn, seed)
    if strength is None:
        strength = DEFAULT_SHARE_OF_MAX * positive_strength_max(model, x, y, technique, weight)
    strength = check_number("strength", strength, Range(0.0, np.inf, open="low"))
    count = np.zeros(len(used_columns(model)))
    rng = np.random.default_rng([seed, 0x57AB])
    for _ in range(resamples):
        rows = _subset(y, share, rng)
        (point,) = fit_points(
            lambda: fresh_model(model_fn, seed),
            x[rows],
            y[rows],
            technique,
            [strength],
            "independent",
            training,
            None if weight is None else weight[rows],
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
            "a penalty on weights as they are, whose strength can be varied",
            technique,
            "For example dashpot.L1(), or l1 on the command line. Of whole units dashpot.size_path draws sizes"
            " (--technique compress).",
        )
    return technique


def _subset(y: Tensor, share: float, rng: np.random.Generator) -> np.ndarray:
    labels = y.cpu().numpy() if is_classification(y) and y.ndim == 1 else np.zeros(len(y), dtype=np.int64)
    parts = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        parts.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(parts))
