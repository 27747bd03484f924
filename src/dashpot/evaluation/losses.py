"""Loss and metrics of a model's outputs, from the untouched truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import DataError, UsageError
from dashpot.core.running.batch import Batch, weights_for
from dashpot.core.running.criteria import own_number, samples_of
from dashpot.core.running.modes import evaluating
from dashpot.core.running.sizes import at_once
from dashpot.core.running.targets import class_codes, in_type_of, is_one_of
from dashpot.core.running.tensor_rows import TensorRows

Criterion = Callable[[Any, Tensor], Tensor]


def cross_entropy(out: Tensor, y: Tensor) -> Tensor:
    """Per-sample cross entropy of logits [batch, classes, ...] against classes or class probabilities.

    Logits with one more axis at the end, [batch, classes, members], are those of several members: each is compared with
    the target, which gives [batch, members].

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 3, 5), torch.tensor([0, 2])).shape
    torch.Size([2, 5])
    """
    # Classes have one axis less than logits, probabilities as many; with one axis less than that, y is the target of
    # every member.
    soft = y.is_floating_point()
    y = in_type_of(y, out) if soft else class_codes(y, out)
    if y.ndim > soft and out.ndim - y.ndim == 2 - soft:
        y = y.unsqueeze(-1).expand(*y.shape, out.shape[-1])
    return functional.cross_entropy(out, y, reduction="none")


def squared_error(out: Tensor, y: Tensor) -> Tensor:
    """Per-sample squared error [batch], the mean over the outputs of a sample.

    Values with one more axis at the end, [batch, outputs, members], are those of several members: each is compared with
    the target [batch] or [batch, outputs], which gives [batch, members].

    Raises:
        UsageError: shapes that do not fit; broadcasting them would compare every output with every target.
    """
    if out.ndim == 3 and out.shape[-1] > 1 and tuple(out.shape[:2]) == (*y.shape, 1)[:2] and y.ndim in (1, 2):
        return (out - y.reshape(*out.shape[:2], 1)).square().mean(dim=1)
    if out.numel() != y.numel() or out.shape[0] != y.shape[0]:
        raise UsageError(
            f"the model gives {list(out.shape)} for targets {list(y.shape)}: they must have the same number of values"
            " per sample."
        )
    return (out.reshape(y.shape[0], -1) - y.reshape(y.shape[0], -1)).square().mean(dim=1)


def is_classification(y: Tensor) -> bool:
    """Integer targets are classes, floating-point targets are values."""
    return not y.is_floating_point()


def targets_of(out: Tensor, y: Tensor) -> str:
    """What targets are, where nobody says: floating-point ones values; whole numbers classes, and yes/no labels where
    there is one output for each of them.
    """
    if y.is_floating_point():
        return "values"
    return "multilabel" if out.numel() == y.numel() else "classes"


def yes_or_no(out: Tensor, y: Tensor) -> Tensor:
    """Binary cross entropy of logits against yes/no targets with as many values, [batch, labels]."""
    return functional.binary_cross_entropy_with_logits(out, y.to(out.dtype).reshape(out.shape), reduction="none")


def default_criterion(y: Tensor, targets: str | None = None) -> Criterion:
    """Cross entropy for classes, squared error for values, binary cross entropy for labels; where ``targets`` are not
    said, whole numbers are classes and others values.
    """
    if targets == "multilabel":
        return yes_or_no
    return cross_entropy if targets == "classes" or (targets is None and is_classification(y)) else squared_error


SCORES = {
    "classes": ("loss", "accuracy", "balanced_accuracy"),
    "values": ("loss", "r2", "rmse"),
    "multilabel": ("loss", "accuracy", "hamming_loss"),
}
"""What :func:`metrics_of` gives, by the kind of target."""


def metrics_of(
    out: Tensor,
    y: Tensor,
    criterion: Criterion | None = None,
    *,
    weight: Tensor | None = None,
    targets: str | None = None,
) -> dict[str, float]:
    """Scores of outputs against targets.

    Args:
        out: logits [n, classes, ...] for classes, values for values, logits of the shape of ``y`` for yes/no labels
            (probabilities where the criterion is ``BCELoss``).
        y: classes [n, ...] or class probabilities [n, classes, ...], values [n] or [n, k], or labels 0 and 1 [n] or
            [n, k]. Of probabilities the largest is the true class.
        criterion: the loss; by default cross entropy for classes, squared error for values and binary cross entropy for
            labels.
        weight: of the rows [n]: one of weight 0 is absent, one of weight 2 counts twice.
        targets: ``"classes"``, ``"values"`` or ``"multilabel"``; by default as :func:`targets_of` finds.

    Returns:
        ``loss``, and ``accuracy`` and ``balanced_accuracy`` (the mean recall over the classes that occur), or ``r2``
        and ``rmse``, or for labels ``accuracy`` (of rows whose labels are all right) and ``hamming_loss`` (the share of
        labels that are wrong), of one label ``balanced_accuracy`` too; weighted as scikit-learn does. A label is yes
        where its logit is above 0.
    """
    if len(y) == 0:
        raise DataError("scores need at least one row, got 0.")
    targets = targets or targets_of(out, y)
    criterion = criterion or default_criterion(y, targets)
    if weight is None:
        loss = float(own_number(criterion, out, y).double().mean())
    else:
        samples = samples_of(criterion, out, y)
        values = samples.values.double()
        if values.ndim == 0:
            raise UsageError("scores with weights need the loss of each sample, and the criterion gives one number.")
        share = weights_for(values, Batch(None, y, weight=weight), y, samples.ignore_index)
        loss = float(samples.reduce(values, share))
    if targets == "multilabel":
        return {"loss": loss, **_of_labels(out, y, criterion, weight)}
    return {"loss": loss, **(_of_classes if targets == "classes" else _of_values)(out, y, weight)}


def _of_labels(out: Tensor, y: Tensor, criterion: Criterion, weight: Tensor | None) -> dict[str, float]:
    yes = 0.5 if is_one_of(criterion, (nn.BCELoss, functional.binary_cross_entropy)) else 0
    labels = y.reshape(len(y), -1) > 0.5
    right = (out > yes).reshape(labels.shape) == labels
    found = {"accuracy": _mean(right.all(dim=1), weight), "hamming_loss": _mean(~right, weight)}
    if right.shape[1] == 1:  # of one yes or no, both are classes
        share = None if weight is None else weight.double()
        found["balanced_accuracy"] = float(_recall(labels[:, 0].long(), right[:, 0], share).mean())
    return found


def _of_classes(out: Tensor, y: Tensor, weight: Tensor | None) -> dict[str, float]:
    y = y.argmax(dim=1) if y.is_floating_point() and y.shape == out.shape else class_codes(y, out)
    if y.shape != (out.shape[0], *out.shape[2:]):
        raise UsageError(
            f"the model gives {list(out.shape)} for classes {list(y.shape)}: logits must be [batch, classes, ...], with"
            " the axes of the target after the classes."
        )
    hit = out.argmax(dim=1) == y
    share = None if weight is None else _by_value(weight, y)
    recall = _recall(y.reshape(-1), hit.reshape(-1), share)
    return {"accuracy": _mean(hit, weight), "balanced_accuracy": float(recall.mean())}


def _of_values(out: Tensor, y: Tensor, weight: Tensor | None) -> dict[str, float]:
    y = y.double()
    error = (out.reshape(y.shape).double() - y).square()
    share = None if weight is None else _by_value(weight, y)
    center = y.mean(dim=0) if share is None else (y * share).sum(dim=0) / share.sum(dim=0)
    spread, missed = (y - center).square(), error
    if share is not None:
        spread, missed = spread * share, error * share
    # A constant target has no variance to explain: r2 is 1 if it is hit exactly, else 0, as in scikit-learn.
    r2 = 1 - float(missed.sum() / spread.sum()) if spread.sum() > 0 else float(missed.sum() == 0)
    return {"r2": r2, "rmse": math.sqrt(_mean(error, weight))}


def _by_value(weight: Tensor, y: Tensor) -> Tensor:
    return weight.double().reshape(-1, *[1] * (y.ndim - 1)).expand(y.shape)


def _recall(y: Tensor, hit: Tensor, share: Tensor | None) -> Tensor:
    """Of the classes that occur."""
    if share is None:
        count = torch.bincount(y).double()
        # Counted, not weighted: that torch refuses on a GPU under its deterministic algorithms.
        return (torch.bincount(y[hit], minlength=len(count)) / count)[count > 0]
    y, hit, share = y.cpu(), hit.cpu(), share.reshape(-1).cpu()
    count = torch.bincount(y, weights=share)
    return (torch.bincount(y, weights=share * hit) / count)[count > 0]


def _mean(values: Tensor, weight: Tensor | None) -> float:
    """Over all values [n, ...], weighted by row."""
    if weight is None:
        return float(values.double().mean())
    rows = values.double().reshape(len(values), -1).mean(dim=1)
    return float((rows * weight.double()).sum() / weight.double().sum())


@torch.no_grad()
def predict(model: nn.Module, x: Tensor | TensorRows, batch_size: int | None = None) -> Tensor:
    """The model's outputs for all rows, in evaluation mode; the model's modes are as before afterwards.

    Args:
        batch_size: rows at once; by default at most 4,096, and fewer images, as
            :func:`~dashpot.core.running.sizes.at_once` says.
    """
    device = next((p.device for p in model.parameters()), x.device)
    batch_size = batch_size or at_once(x, device)
    with evaluating(model):
        return torch.cat([model(x[i : i + batch_size].to(device)) for i in range(0, max(len(x), 1), batch_size)])


def scores(
    model: nn.Module,
    x: Tensor | TensorRows,
    y: Tensor,
    criterion: Criterion | None = None,
    *,
    weight: Tensor | None = None,
) -> dict[str, float]:
    """Loss and metrics of ``model`` on ``(x, y)``, in evaluation mode; see :func:`metrics_of`.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> sorted(scores(model, torch.randn(8, 2), torch.tensor([0, 1] * 4)))
    ['accuracy', 'balanced_accuracy', 'loss']
    """
    out = predict(model, x)
    return metrics_of(out, y.to(out.device), criterion, weight=None if weight is None else weight.to(out.device))
