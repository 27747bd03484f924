"""``dropout_ensemble_gap``: how near a network with dropout off is to the average of its sub-networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dashpot.core.errors import DataError
from dashpot.core.fields.domains import check_whole
from dashpot.core.recipe import Recipe
from dashpot.core.running.modes import evaluating
from dashpot.core.running.nested import called, rows
from dashpot.core.technique import Technique
from dashpot.training.dropout_passes import Targets, answers, as_tensors, outputs, parts_of, passes
from dashpot.training.mc_dropout import Sums


@dataclass(frozen=True)
class EnsembleGap:
    """What :func:`dropout_ensemble_gap` found.

    Attributes:
        gap: mean distance over rows and outputs between the one pass with dropout off and the average of sub-networks,
            of probabilities or values.
        noise: what of it comes from averaging so few sub-networks only: the mean standard error of the average.
        spread: mean standard deviation between sub-networks. A gap far below it says that the one pass stands for
            their average.
        agreement: share of rows (of several labels: of answers) on which both decide alike; None for values.
        losses: where targets are known, of ``"one pass"``, ``"average"`` and ``"sub-network"`` (the mean over them):
            log loss, or the mean squared error of values. None without targets.
        samples: sub-networks of each row.
    """

    gap: float
    noise: float
    spread: float
    agreement: float | None
    losses: dict[str, float] | None
    samples: int


def dropout_ensemble_gap(
    model: nn.Module,
    data: Any,
    samples: int = 100,
    *,
    recipe: Recipe | Technique | str | Sequence[Any] | None = None,
    targets: Targets = "classes",
    seed: int = 0,
    batch_size: int = 1024,
) -> EnsembleGap:
    r"""Compare one pass with dropout off to the average of ``samples`` sub-networks that dropout leaves.

    .. math:: \mathrm{gap} = \frac{1}{nC} \sum_{i,c} \Big| p_c(x_i) - \frac1T \sum_t p_{m_t,c}(x_i) \Big|

    Dropout trains an ensemble of sub-networks with shared weights; scaled activations at evaluation stand for its
    average. For one layer of weights behind the dropout and values as outputs this is exact, in deep networks it is an
    approximation, and this says how good it is.

    Args:
        model, recipe, targets, seed, batch_size: as for :func:`mc_predict`.
        data: inputs, or the pair (inputs, targets) of tensors or arrays: class numbers [n], or labels or values [n,
            outputs].
        samples: sub-networks, >= 2; ``noise`` falls with their square root.

    Raises:
        ConfigError, ConflictError, DataError: as for :func:`mc_predict`; DataError also where inputs and targets do not
            fit.

    Example:
        >>> import torch, dashpot
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> gap = dashpot.dropout_ensemble_gap(model, torch.randn(50, 4), recipe="dropout:p=0.3")
        >>> gap.gap < gap.spread, gap.agreement > 0.9
        (True, True)

    Paper: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014;
    Goodfellow, Bengio and Courville, "Deep Learning", MIT Press 2016, section 7.12.

    When not to use it: as a score of the model; both may be wrong alike.
    """
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    x, batch_size = as_tensors(x), check_whole("batch_size", batch_size)
    truth = None if y is None else _truth(y, rows(x) or 0, targets)
    sums, of_one = Sums(targets), 0.0
    for start, drawn in passes(model, x, samples, recipe=recipe, targets=targets, seed=seed, batch_size=batch_size):
        sums.add(start, drawn)
        if truth is not None:
            some = truth[start : start + len(drawn)].unsqueeze(1)
            of_one += float(_losses(drawn, some, targets).sum())
    result = sums.result()
    with evaluating(model), torch.no_grad():
        parts = [
            answers(outputs(called(model, part), rows(part) or 0), targets)
            for _, part in parts_of(x, batch_size, model)
        ]
    one, average = torch.cat(parts), result.mean.double()
    agreement = None
    if targets != "values":
        alike = one.argmax(1) == average.argmax(1) if targets == "classes" else (one >= 0.5) == (average >= 0.5)
        agreement = float(alike.double().mean())
    losses = None
    if truth is not None:
        losses = {
            "one pass": float(_losses(one, truth, targets).mean()),
            "average": float(_losses(average, truth, targets).mean()),
            "sub-network": of_one / len(one) / result.samples,
        }
    spread = float(result.std.double().mean())
    gap = float((one - average).abs().mean())
    return EnsembleGap(gap, spread / result.samples**0.5, spread, agreement, losses, result.samples)


def _truth(y: Any, n: int, targets: str) -> Tensor:
    """Class numbers [n], or float64 [n, outputs].

    Raises:
        DataError: there are more or fewer than inputs, or no class numbers.
    """
    truth = torch.as_tensor(y).cpu()
    if len(truth) != n:
        raise DataError(f"inputs and targets must be as many, got {n} and {len(truth)} rows.")
    if targets != "classes":
        return truth.double().reshape(n, -1)
    if truth.ndim != 1 or truth.is_floating_point():
        raise DataError(f"targets must be class numbers [{n}], got {truth.dtype} {list(truth.shape)}.")
    return truth.long()


def _losses(found: Tensor, truth: Tensor, targets: str) -> Tensor:
    """Of answers [rows, ..., outputs], for each of them."""
    if targets == "values":
        return (found - truth).square().mean(-1)
    tiny = torch.finfo(torch.float32).tiny
    if targets == "multilabel":
        share = truth * found.clamp(min=tiny).log() + (1 - truth) * (1 - found).clamp(min=tiny).log()
        return -share.mean(-1)
    index = truth.expand(found.shape[:-1]).unsqueeze(-1)
    return -found.gather(-1, index).squeeze(-1).clamp(min=tiny).log()
