"""Loss and metrics of a model's outputs, from the untouched truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dashpot.core.errors import DataError, UsageError
from dashpot.core.modes import evaluating

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


def default_criterion(y: Tensor) -> Criterion:
    """Cross entropy for integer targets, squared error for floating-point ones."""
    return cross_entropy if is_classification(y) else squared_error


def metrics_of(out: Tensor, y: Tensor, criterion: Criterion | None = None) -> dict[str, float]:
    """Scores of outputs against targets.

    Args:
        out: logits [n, classes, ...] for integer ``y``, values for float ``y``.
        y: classes [n, ...] or values [n] or [n, k].

    Returns:
        ``loss``, and ``accuracy`` and ``balanced_accuracy`` (the mean recall over the classes that occur), or ``r2``
        and ``rmse``.
    """
    if len(y) == 0:
        raise DataError("scores need at least one row, got 0.")
    loss = float((criterion or default_criterion(y))(out, y).double().mean())
    if is_classification(y):
        hit = (out.argmax(dim=1) == y).reshape(-1)
        flat = y.reshape(-1)
        count = torch.bincount(flat).double()
        # Counted, not weighted: that torch refuses on a GPU under its deterministic algorithms.
        recall = torch.bincount(flat[hit], minlength=len(count)) / count
        accuracy = float(hit.double().mean())
        return {"loss": loss, "accuracy": accuracy, "balanced_accuracy": float(recall[count > 0].mean())}
    error = (out.reshape(y.shape).double() - y.double()).square()
    spread = (y.double() - y.double().mean(dim=0)).square().sum()
    # A constant target has no variance to explain: r2 is 1 if it is hit exactly, else 0, as in scikit-learn.
    r2 = 1 - float(error.sum() / spread) if spread > 0 else float(error.sum() == 0)
    return {"loss": loss, "r2": r2, "rmse": float(error.mean().sqrt())}


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, batch_size: int = 4096) -> Tensor:
    """The model's outputs for all rows, in evaluation mode; the model's modes are as before afterwards."""
    device = next((p.device for p in model.parameters()), x.device)
    with evaluating(model):
        return torch.cat([model(x[i : i + batch_size].to(device)) for i in range(0, max(len(x), 1), batch_size)])


def scores(model: nn.Module, x: Tensor, y: Tensor, criterion: Criterion | None = None) -> dict[str, float]:
    """Loss and metrics of ``model`` on ``(x, y)``, in evaluation mode; see :func:`metrics_of`.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> sorted(scores(model, torch.randn(8, 2), torch.tensor([0, 1] * 4)))
    ['accuracy', 'balanced_accuracy', 'loss']
    """
    out = predict(model, x)
    return metrics_of(out, y.to(out.device), criterion)
